"""A worker of several ranks, with the interface of one of a single process.

A request goes to all ranks, and their answers are merged into one. While they work, all of them
are watched: one that dies, fails, hangs or does not reach the others ends the group, because
OneFlow would leave the rest waiting for it without an end.
"""

from __future__ import annotations

import select
import time
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence

from ..errors import BenchError, InputError, WorkerError, WorkerTimeout
from .watch import Hang, HangDetector

LOOK_S = 0.5  # between two looks at the ranks
STACK_S = 0.3  # for a rank to write its stack before it is ended
AGREE_S = 0.3  # for the others to refuse what one refused, or to be the cause of an abort
LAST_CALL = "end"  # a worker exits by itself when it has answered it
PEER_LOST = "io_event_poller.cpp"  # where OneFlow aborts a rank whose neighbour is gone

Merge = Callable[[str, Sequence[Dict[str, Any]]], Dict[str, Any]]


class RankGroup:
    """Ranks that train together; `members` are in their order.

    A member needs what `rank_process.RankProcess` has: `send`, `fileno`, `poll`, `observe`,
    `write_stack`, `read_log_tail`, `kill`, `close_input`, `close`, `pid` and `title`.
    """

    def __init__(
        self,
        name: str,
        members: Sequence[Any],
        merge: Merge,
        is_listening: Callable[[], bool] = lambda: False,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """`is_listening`: others can connect to rank 0; `release` gives its port back."""
        self.name = name
        self._members, self._merge = list(members), merge
        self._is_listening, self._release = is_listening, release
        self._listening = self._connected = False
        self._detector = HangDetector()
        self._answers: List[Optional[Dict[str, Any]]] = []

    @property
    def pid(self) -> int:
        """Of rank 0."""
        return int(self._members[0].pid)

    def ask(self, call: str, timeout_s: float, **arguments: Any) -> Dict[str, Any]:
        """As `WorkerProcess.ask`: of all ranks; an error names the rank, and none is left."""
        self.send(call, **arguments)
        return self.receive(call, timeout_s)

    def send(self, call: str, **arguments: Any) -> None:
        """Send a request to every rank without waiting."""
        self._answers = [None] * len(self._members)
        self._detector.begin()
        for member in self._members:
            try:
                member.send(call, **arguments)
            except WorkerError:
                pass  # `receive` finds it ended, or finds out why it ended

    def receive(self, call: str, timeout_s: float) -> Dict[str, Any]:
        """The merged answer to the request that was sent last.

        Raises InputError, WorkerError and WorkerTimeout as `WorkerProcess.ask`.
        """
        deadline = time.monotonic() + timeout_s
        next_look = time.monotonic() + LOOK_S
        while None in self._answers:
            until = min(deadline, next_look)
            if select.select(self._list_awaited(call), [], [], self._left_s(until))[0]:
                self._collect(call)
            now = time.monotonic()
            if None in self._answers and now >= deadline:
                self._fail_late(call, timeout_s)
            if None in self._answers and now >= next_look:
                self._look(call)
                next_look = time.monotonic() + LOOK_S
        self._connected = True
        try:
            return self._merge(call, [answer for answer in self._answers if answer is not None])
        except WorkerError as error:
            self.kill()
            raise WorkerError(f"the worker '{self.name}': {error}", self.read_log_tail()) from None

    @staticmethod
    def _left_s(until: float) -> float:
        return max(0.0, until - time.monotonic())

    def _list_awaited(self, call: str) -> List[Any]:
        """Those that must still answer; but for the last call, the others must not end either."""
        if call != LAST_CALL:
            return self._members
        return [m for m, answer in zip(self._members, self._answers) if answer is None]

    def _collect(self, call: str) -> None:
        """Take the answers that are there."""
        errors = self._poll(call, range(len(self._members)))
        refused = any(isinstance(error, InputError) for error in errors.values())
        if refused or (errors and all(map(is_aborted, errors.values()))):
            time.sleep(AGREE_S)
            others = [rank for rank in range(len(self._members)) if rank not in errors]
            errors.update(self._poll(call, others))
        if errors:
            self._fail(errors)

    def _poll(self, call: str, ranks: Sequence[int]) -> Dict[int, BenchError]:
        """What went wrong with these ranks; answers are kept."""
        errors: Dict[int, BenchError] = {}
        for rank in ranks:
            if self._answers[rank] is not None and call == LAST_CALL:
                continue
            try:
                answer = self._members[rank].poll(call)
            except BenchError as error:
                errors[rank] = error
            else:
                self._answers[rank] = answer if answer is not None else self._answers[rank]
        return errors

    def _fail(self, errors: Dict[int, BenchError]) -> NoReturn:
        """End the group for the rank that failed first, as far as that can be told."""
        self.kill()
        rank = find_culprit(errors)
        error = errors[rank]
        if isinstance(error, WorkerError):
            raise error
        everywhere = [str(other) for other in errors.values()] == [str(error)] * len(self._members)
        raise InputError(
            str(error) if everywhere else f"{self._members[rank].title}: {error}"
        ) from None

    def _look(self, call: str) -> None:
        self._collect(call)  # a machine that is lost ends no connection
        if not self._connected and not self._listening:
            self._listening = self._is_listening()
        ranks = [
            member.observe(answer is not None)
            for member, answer in zip(self._members, self._answers)
        ]
        hang = self._detector.update(time.monotonic(), ranks, self._listening)
        if hang is not None:
            self._fail_hung(call, hang)

    def _fail_hung(self, call: str, hang: Hang) -> NoReturn:
        for member in self._members:
            member.write_stack()
        time.sleep(STACK_S)
        self.kill()
        first = self._members[hang.ranks[0]]
        more = "".join(f" and {rank}" for rank in hang.ranks[1:])
        title = first.title.replace(f"rank {hang.ranks[0]}", f"rank {hang.ranks[0]}{more}", 1)
        raise WorkerError(
            f"{title} {hang.verb} in its {call} turn: {hang.reason}; all ranks were ended",
            first.read_log_tail(),
        )

    def _fail_late(self, call: str, timeout_s: float) -> NoReturn:
        self.kill()
        late = [rank for rank, answer in enumerate(self._answers) if answer is None]
        raise WorkerTimeout(
            f"the worker '{self.name}' gave no answer to its {call} turn within {timeout_s:g} s "
            f"and was ended (missing: rank {', '.join(map(str, late))}); "
            "give a longer --timeout if it needs it",
            self._members[late[0]].read_log_tail(),
        )

    def read_log_tail(self) -> str:
        """The last lines of rank 0, which writes what the user asked for."""
        return str(self._members[0].read_log_tail())

    def kill(self) -> None:
        """End all ranks and whatever they started, at once."""
        for member in self._members:
            member.kill()
        self._release()

    def close(self) -> None:
        """End all ranks in good order if they do so in time, else by force."""
        for member in self._members:  # all of them first: they exit together
            member.close_input()
        for member in self._members:
            member.close()
        self._release()


def is_aborted(error: BenchError) -> bool:
    """True where OneFlow ended a rank because it had lost another."""
    return isinstance(error, WorkerError) and PEER_LOST in error.log_tail


def find_culprit(errors: Dict[int, BenchError]) -> int:
    """The rank whose failure came before the others', out of those that were found together.

    One that says what is wrong comes first, then one that died by itself; a rank that OneFlow
    aborted because it had lost another is the last that is to blame.
    """

    def order(rank: int) -> int:
        error = errors[rank]
        if not isinstance(error, WorkerError) or error.returncode is None:
            return 0
        return 2 if is_aborted(error) else 1

    return min(sorted(errors), key=order)
