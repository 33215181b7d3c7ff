"""The speed phase: waves of fresh processes take turns until the verdict is known or time is up.

The whole phase can be read in `SpeedRun.run`. The processes of a wave are alive together, and one
at a time is allowed to run. What it measures are events of the record; what it decides on the way,
it decides by the same functions that judge the record afterwards.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from ..record.events import (
    ROLES,
    Compiled,
    ConditionsEvent,
    LookEvent,
    Prepared,
    Probed,
    SpeedBlockEvent,
    create_speed_setup,
)
from ..record.machine import read_available_bytes
from ..record.run import RecordWriter
from ..verdict.conditions import read_conditions
from ..verdict.judge import Margins, is_look_due
from ..verdict.statistics import summarize
from ..verdict.stopping import (
    FEWEST_REPLICATES,
    FRESH,
    REST,
    STOP,
    Aims,
    choose_first_double_rounds,
    combine_moves,
    next_move,
)
from ..verdict.summary import judge_blocks, select_contender, share_alpha
from ..verdict.warmup import is_settled
from ..worker.messages import Launcher, StepsRequest
from .order import (
    choose_speed_block_steps,
    choose_untimed_steps,
    choose_warmup_blocks,
    generate_orders,
)
from .speed_processes import ProcessKey, SpeedProcesses

ALIVE_REPLICATES = 3  # of a wave, where the memory allows it
MEMORY_SHARE = 0.7  # of what is available, for the processes of a wave
START_SHARE = 2 / 3  # of what is left of the budget, for the other replicates of the first wave
MOST_WARMUP_ROUNDS = 3
WARMUP_SHARE = 0.05  # of what is left of the budget, for another round of one process
PROBE_STEPS = 3

Observer = Callable[[str, int, int], None]


class _Ready(NamedTuple):
    """A process that has settled."""

    step_time_s: float
    sync_s: float
    peak_rss_bytes: int


class SpeedRun:
    """The speed phase of one run: its contenders, a record, and a way to start workers.

    All contenders share the baseline's and the control's processes. One whose verdict is known is
    left out of the waves that follow.
    """

    def __init__(
        self,
        writer: RecordWriter,
        launch: Launcher,
        dataset: Optional[Path] = None,
        observe: Observer = lambda message, done, total: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        document = writer.document
        self._writer, self._processes = writer, SpeedProcesses(document, launch, dataset)
        self._observe, self._clock, self._start = observe, clock, clock()
        self._document, self._measuring = document, document.measuring
        self._baseline, *others = [c.name for c in document.racing]
        self._racing = others or [self._baseline]  # still without a verdict
        self._looks_of = dict.fromkeys(self._racing, 0)
        self._alpha = share_alpha(len(others))
        self._margins = Margins(
            margin=self._measuring.margin, equivalence=self._measuring.equivalence
        )
        self._aims = Aims(replicates=self._measuring.replicates, until=self._measuring.until)
        self._blocks: List[SpeedBlockEvent] = []
        self._measured: List[Tuple[ProcessKey, Dict[str, Any]]] = []  # that is not stored yet
        self._turn = self._replicates = self._pairs = self._looks = self._seen = 0
        self._alive = min(ALIVE_REPLICATES, self._aims.replicates)
        self._steps = self._untimed = 0
        self._block_s = 0.0
        self._start_s = self._round_s = 0.0  # of a wave; of a double round

    def run(self) -> None:
        """Measure until a verdict, the budget or the most replicates; workers are gone after it."""
        self._start = self._clock()
        self._write_conditions("before")
        try:
            rounds, move = 0, FRESH
            while move != STOP:
                if move == FRESH:
                    self._open_wave()
                rounds = rounds or self._choose_first_rounds()
                done = self._measure_rounds(rounds)
                move = self._look(last=done < rounds)
                rounds = self._pairs // 2  # of a fresh wave, or as many again of this one
                if move == REST:
                    rounds = sys.maxsize
                if move in (FRESH, STOP):
                    for event in self._processes.end():
                        self._writer.append(event)
            self._write_conditions("after")
        finally:
            self._processes.kill()
            self._store()

    def _open_wave(self) -> None:
        started_s = self._now()
        first, count = self._replicates, min(self._alive, self._aims.replicates - self._replicates)
        if self._processes.wave == 0:
            count = self._open_first(count)
            first += 1
        if count:
            self._start_replicates(range(first, first + count))
        self._pairs = 0
        self._by_name = {"/".join(map(str, key)): key for key in self._processes.keys}
        seed = self._document.workload.seed + self._processes.wave
        self._orders = generate_orders(list(self._by_name), seed)
        self._start_s = max(self._start_s, self._now() - started_s)

    def _choose_first_rounds(self) -> int:
        """Double rounds of the first wave before anything is judged."""
        expected_s = 2 * len(self._processes) * self._block_s
        if self._aims.replicates < FEWEST_REPLICATES:  # an interval is not asked for
            return choose_first_double_rounds(expected_s)
        return choose_first_double_rounds(expected_s, self._alive, self._left_s(), self._start_s)

    def _open_first(self, wanted: int) -> int:
        """Start one replicate, which says how long blocks are and how many more may join it."""
        ready = self._start_replicates(range(1))
        step_time_s = max(each.step_time_s for each in ready)
        sync_s = max(each.sync_s for each in ready)
        self._steps = choose_speed_block_steps(step_time_s, sync_s, self._measuring.block_steps)
        self._untimed = choose_untimed_steps(step_time_s)
        self._block_s = (self._steps + self._untimed) * step_time_s
        peak_bytes = sum(each.peak_rss_bytes for each in ready)
        by_memory = int(MEMORY_SHARE * (read_available_bytes() or 0) / peak_bytes)
        by_time = int(START_SHARE * max(0.0, self._left_s()) / max(self._now(), 1e-9))
        self._alive = max(1, min(wanted, 1 + by_memory, 1 + by_time))
        return self._alive - 1

    def _start_replicates(self, replicates: range) -> List[_Ready]:
        """Start, compile and warm up processes of all roles.

        They import and build side by side; from compiling on, one at a time has its turn.
        """
        keys = [key for replicate in replicates for key in self._list_keys(replicate)]
        self._show(f"speed: start replicate {', '.join(str(number + 1) for number in replicates)}")
        prepared = self._processes.start(keys)
        self._replicates += len(replicates)
        return [self._make_ready(key, answer) for key, answer in prepared.items()]

    def _list_keys(self, replicate: int) -> List[ProcessKey]:
        """The processes of a replicate."""
        names = {
            "baseline": [self._baseline],
            "contender": self._racing,
            "control": [self._baseline],
        }
        return [ProcessKey(role, name, replicate) for role in ROLES for name in names[role]]

    def _make_ready(self, key: ProcessKey, prepared: Prepared) -> _Ready:
        self._show(f"speed: compile and warm up replicate {key.replicate + 1}")
        compiled = self._processes.ask(key, "compile", Compiled)
        step_time_s = self._warm_up(key)
        self._store()
        probed = self._processes.ask(key, "probe", Probed, StepsRequest(steps=PROBE_STEPS))
        self._writer.append(
            create_speed_setup(self._processes.identify(key), prepared, compiled, probed)
        )
        return _Ready(step_time_s, probed.sync_s, probed.peak_rss_bytes)

    def _warm_up(self, key: ProcessKey) -> float:
        """Run until the step time has settled, as far as the budget allows; that step time."""
        step_times_s = [self._measure(key, "warmup", 1, 0)]
        count, steps = choose_warmup_blocks(step_times_s[0])
        for _ in range(MOST_WARMUP_ROUNDS):
            step_times_s += [self._measure(key, "warmup", steps, 0) for _ in range(count)]
            round_s = count * steps * step_times_s[-1]
            if is_settled(step_times_s) or round_s > WARMUP_SHARE * self._left_s():
                break
        return summarize(step_times_s[-count:]).median

    def _measure_rounds(self, double_rounds: int) -> int:
        """Double rounds that were done before the budget was used up; the first is always done."""
        for done in range(double_rounds):
            if self._round_s > self._left_s() and (self._seen or self._pairs):
                return done
            started = self._clock()
            for _ in range(2):
                for name in next(self._orders):
                    self._show(
                        f"speed: wave {self._processes.wave + 1}, round {self._pairs // 2 + 1}"
                    )
                    self._measure(self._by_name[name], "scored", self._steps, self._untimed)
                self._pairs += 1
            self._store()
            self._round_s = self._clock() - started
        return double_rounds

    def _look(self, last: bool) -> str:
        """Judge what there is, if that is worth its price, and say what to do next."""
        data = sum(block.kind == "scored" for block in self._blocks)
        last = last or self._left_s() < self._round_s
        measured_s = self._pairs // 2 * self._round_s
        fits = self._start_s + measured_s / 2 <= self._left_s()
        fresh = fits and self._replicates < self._aims.replicates
        if not last and fresh and not is_look_due(data, self._seen):
            return FRESH
        if data == self._seen:
            return STOP  # nothing new since the last look
        self._looks, self._seen = self._looks + 1, data
        moves = {name: self._judge(name, measured_s) for name in self._racing}
        move = combine_moves(list(moves.values()))
        if move == FRESH:
            self._racing = [name for name in self._racing if moves[name] != STOP]
        if move == FRESH and not fits:
            move = REST
        move = STOP if last else move
        self._write_conditions("during")
        self._writer.append(
            LookEvent(
                look=self._looks, replicates=self._replicates, started_s=self._now(), move=move
            )
        )
        return move

    def _judge(self, contender: str, measured_s: float) -> str:
        """The move that a contender asks for, by all its blocks so far."""
        self._looks_of[contender] += 1
        blocks = select_contender(self._blocks, contender)
        judgement = judge_blocks(blocks, self._looks_of[contender], self._margins, self._alpha)
        assert judgement is not None
        return next_move(judgement, self._aims, self._processes.wave + 1, measured_s, self._start_s)

    def _measure(self, key: ProcessKey, kind: str, steps: int, untimed_steps: int) -> float:
        """Give a process its turn; its step time."""
        started_s = self._now()
        answer = self._processes.measure(key, steps, untimed_steps)
        fields = {
            "kind": kind,
            "pair": self._pairs if kind == "scored" else None,
            "turn": self._turn,
            "steps": steps,
            "untimed_steps": untimed_steps,
            "started_s": started_s,
            **answer,
        }
        self._measured.append((key, fields))
        self._turn += 1
        return float(answer["duration_s"]) / steps

    def _store(self) -> None:
        """Put what was measured since the last time into the record.

        A double round at once: one by one, between turns that leave the caches cold, blocks take
        several times as long. What a kill takes away is part of a double round, and counts for
        nothing.
        """
        measured, self._measured = self._measured, []
        blocks = [SpeedBlockEvent(**self._processes.identify(k), **f) for k, f in measured]
        self._blocks += blocks
        self._writer.append(*blocks)

    def _write_conditions(self, when: Any) -> None:
        self._writer.append(
            ConditionsEvent(when=when, started_s=self._now(), conditions=read_conditions())
        )

    def _now(self) -> float:
        return self._clock() - self._start

    def _left_s(self) -> float:
        return self._measuring.budget_s - self._now()

    def _show(self, message: str) -> None:
        budget_s = self._measuring.budget_s
        self._observe(message, int(min(self._now(), budget_s)), int(budget_s))
