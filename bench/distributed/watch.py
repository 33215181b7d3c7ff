"""Tells a rank that hangs from one that is slow, by what can be seen of all ranks from outside.

Nothing here reads a clock or a process: `HangDetector.update` takes what was observed and when, and
says who hangs and why. What is known of OneFlow, on a CPU: while a rank waits for another inside a
collective call, its scheduler thread spins and the thread that runs Python rests. So a rank that is
waited for is the one that has begun fewer steps; or, where all have begun as many, the one whose
Python alone is busy, or the one that alone uses no processor time.

A hang takes at most REST_S and a look to be seen. What looks like a hang and is none: a rank that
is slow but moves; rank 0 compiling while the others wait; a step that is long for all ranks; a rank
that waits for a disk or for a core; a controller or a machine that was suspended itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional, Sequence

from .observation import REST_CPU_S, Observation
from .progress import REACHING, STEPPING

STOPPED_S = 2.0  # a process may be stopped for so long
STILL_S = 6.0  # a rank may stand still for so long while all others are further
REST_S = 8.0  # an answer may be due for so long without any processor time
UNREACHABLE_S = 6.0  # a rank may try for so long to reach a rank 0 that listens
GAP_S = 3.0  # between two looks: more, and whoever looked was stopped itself
PATIENCE = 2.0  # times the longest pause of any rank that was none
BUSY_SHARE = 0.4  # of the time that a thread which does not rest has a core
IDLE_SHARE = 0.1


@dataclass(frozen=True)
class Hang:
    """The ranks that hang, and why that is believed."""

    ranks: List[int]
    reason: str  # a clause
    verb: str = "hangs"


@dataclass
class _Since:
    """Since when a rank has been as it is, and what it had used by then."""

    moved_s: float
    moved_main_cpu_s: float
    rested_s: float
    rested_cpu_s: float
    stopped_s: Optional[float] = None


@dataclass
class _Look:
    """All ranks at one moment."""

    at_s: float
    ranks: Sequence[Observation]
    since: List[_Since] = field(default_factory=list)

    def still_s(self, rank: int) -> float:
        return self.at_s - self.since[rank].moved_s

    def rest_s(self, rank: int) -> float:
        return self.at_s - self.since[rank].rested_s

    def main_share(self, rank: int) -> float:
        """Of a core, that the rank's Python has used since it last moved."""
        used_s = self.ranks[rank].main_cpu_s - self.since[rank].moved_main_cpu_s
        return used_s / max(self.still_s(rank), 1e-9)

    @property
    def due(self) -> List[int]:
        """The ranks whose answers are awaited."""
        return [rank for rank, seen in enumerate(self.ranks) if not seen.answered]


class HangDetector:
    """Folds one look at the ranks after another; made once for a group."""

    def __init__(self) -> None:
        self._last: Optional[_Look] = None
        self._longest_s = 0.0  # pause between two steps of any rank
        self._listening_s: Optional[float] = None

    def begin(self) -> None:
        """A request was sent: what was seen before says nothing about it."""
        self._last = None

    def update(
        self, at_s: float, ranks: Sequence[Optional[Observation]], listening: bool = False
    ) -> Optional[Hang]:
        """Who hangs, by all looks so far; `listening`: others can connect to rank 0."""
        seen = [rank for rank in ranks if rank is not None]
        if len(seen) < len(ranks):  # one is ending: its end says more than this
            self._last = None
            return None
        look = self._follow(_Look(at_s, seen))
        self._note_listening(at_s, listening)
        for judge in (self._judge_stopped, self._judge_unreachable, self._judge_behind):
            hang = judge(look)
            if hang is not None:
                return hang
        return self._judge_tie(look) or self._judge_rest(look)

    def _follow(self, look: _Look) -> _Look:
        last, self._last = self._last, look
        fresh = last is None or look.at_s - last.at_s > GAP_S
        if fresh:
            self._listening_s = None
        for rank, seen in enumerate(look.ranks):
            since = _Since(look.at_s, seen.main_cpu_s, look.at_s, seen.cpu_s)
            if last is not None and not fresh:
                since = self._continue(last, rank, seen, since)
            if seen.state == "T" and since.stopped_s is None:
                since.stopped_s = look.at_s
            look.since.append(since)
        return look

    def _continue(self, last: _Look, rank: int, seen: Observation, new: _Since) -> _Since:
        before, since = last.ranks[rank], last.since[rank]
        if seen.progress != before.progress:
            if before.progress.phase == STEPPING:
                self._longest_s = max(self._longest_s, new.moved_s - since.moved_s)
        else:
            new.moved_s, new.moved_main_cpu_s = since.moved_s, since.moved_main_cpu_s
        if not seen.wanting and seen.cpu_s - since.rested_cpu_s <= REST_CPU_S:
            new.rested_s, new.rested_cpu_s = since.rested_s, since.rested_cpu_s
        new.stopped_s = since.stopped_s if seen.state == "T" else None
        return new

    def _note_listening(self, at_s: float, listening: bool) -> None:
        if not listening:
            self._listening_s = None
        elif self._listening_s is None:
            self._listening_s = at_s

    @property
    def _patience_s(self) -> float:
        return max(STILL_S, PATIENCE * self._longest_s)

    def _judge_stopped(self, look: _Look) -> Optional[Hang]:
        since = {rank: look.since[rank].stopped_s for rank in look.due}
        stopped = [
            r for r, at_s in since.items() if at_s is not None and look.at_s - at_s >= STOPPED_S
        ]
        return Hang(stopped, "it was stopped by a signal (SIGSTOP)") if stopped else None

    def _judge_unreachable(self, look: _Look) -> Optional[Hang]:
        if self._listening_s is None:
            return None
        waited_s = look.at_s - self._listening_s
        lost = [rank for rank in look.due if look.ranks[rank].progress.phase == REACHING]
        if not lost or waited_s < UNREACHABLE_S:
            return None
        reason = f"rank 0 has listened for {waited_s:.0f} s; check its address and the firewall"
        return Hang(lost, reason, "cannot connect to rank 0")

    def _judge_behind(self, look: _Look) -> Optional[Hang]:
        """One that stands still while all others are further, unless it is held up itself."""
        counts = [seen.progress.begun for seen in look.ranks]
        last = counts.index(min(counts))
        behind = counts.count(counts[last]) == 1 and last in look.due
        patience_s = self._patience_s
        if not behind or look.ranks[last].progress.phase == REACHING:
            return None
        if look.still_s(last) < patience_s:
            return None
        if look.rest_s(last) < patience_s and look.main_share(last) < BUSY_SHARE:
            return None  # its threads work off what its Python has begun
        others = f"rank {1 - last} is" if len(counts) == 2 else "all others are"
        reason = f"it has not moved for {look.still_s(last):.0f} s while {others} further"
        return Hang([last], reason)

    def _judge_tie(self, look: _Look) -> Optional[Hang]:
        """One whose Python alone is busy, or that alone rests, in a step that all have begun."""
        if not _are_in_one_step(look):
            return None
        ranks, patience_s = look.due, self._patience_s
        resting = [rank for rank in ranks if look.rest_s(rank) >= patience_s]
        if resting and len(resting) < len(ranks):
            return Hang(resting, f"it has used no processor time for {patience_s:.0f} s in a step")
        shares = [look.main_share(rank) for rank in ranks]
        busy = [rank for rank in ranks if shares[rank] >= BUSY_SHARE]
        idle = [rank for rank in ranks if shares[rank] <= IDLE_SHARE]
        still_s = min(look.still_s(rank) for rank in ranks)
        if len(busy) != 1 or len(idle) != len(ranks) - 1 or still_s < patience_s:
            return None
        return Hang(busy, f"it has been in the Python of one step for {still_s:.0f} s")

    def _judge_rest(self, look: _Look) -> Optional[Hang]:
        """All rest that are not on their way to rank 0; of them, those that are behind."""
        due = [rank for rank in look.due if look.ranks[rank].progress.phase != REACHING]
        if not due or any(look.rest_s(rank) < REST_S for rank in due):
            return None
        first = min(look.ranks[rank].progress.begun for rank in due)
        behind = [rank for rank in due if look.ranks[rank].progress.begun == first]
        return Hang(behind, f"it has used no processor time for {REST_S:.0f} s")


def _are_in_one_step(look: _Look) -> bool:
    """True where all ranks have begun the same step and none has answered."""
    first = look.ranks[0].progress
    same = all(seen.progress == first for seen in look.ranks)
    return same and first.phase == STEPPING and len(look.due) == len(look.ranks) > 1
