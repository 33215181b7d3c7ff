"""The speed phase: waves of fresh processes take turns until the verdict is known or time is up.

The whole phase can be read in `SpeedRun.run`. The processes of a wave are alive together, and one
at a time is allowed to run. What it measures are events of the record; what it decides on the way,
it decides by the same functions that judge the record afterwards.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..record.events import (
    Compiled,
    ConditionsEvent,
    InterimAnalysisEvent,
    Prepared,
    Probed,
    SpeedBlockEvent,
    SpeedSetupEvent,
)
from ..record.machine import read_available_bytes
from ..record.run import RecordWriter, RunRecord
from ..verdict.conditions import read_conditions
from ..verdict.judge import is_analysis_due
from ..verdict.statistics import summarize
from ..verdict.stopping import (
    FEWEST_ABBA_PAIRS,
    FEWEST_REPLICATES,
    START_FRESH,
    STOP,
    USE_REMAINING,
    choose_first_abba_pairs,
    is_settled,
    next_action,
)
from ..verdict.summary import judge_blocks, select_contender, share_alpha
from ..worker.messages import Launcher, StepsRequest
from .continuation import Progress, check_prepared, list_open, read_progress
from .order import (
    Observer,
    ProcessKey,
    SpeedWorkers,
    choose_speed_block_steps,
    choose_untimed_steps,
    choose_warmup_blocks,
    generate_orders,
    list_keys,
)

ALIVE_REPLICATES = 5  # of a wave, where memory and budget allow it
MEMORY_SHARE = 0.7  # of what is available, for the processes of a wave
START_SHARE = 2 / 3  # of what is left of the budget, for the other replicates of the first wave
MOST_WARMUP_ROUNDS = 3
WARMUP_SHARE = 0.05  # of what is left of the budget, for another round of one process
PROBE_STEPS = 3


class SpeedRun:
    """The speed phase of one run: its contenders, a record, and a way to start workers.

    All contenders share the baseline's and the control's processes. One whose verdict is known is
    left out of the waves that follow. With a record `before` its phase is continued, which raises
    InputError where it cannot be.
    """

    def __init__(
        self,
        writer: RecordWriter,
        launch: Launcher,
        dataset: Optional[Path] = None,
        observe: Observer = lambda message, done, total: None,
        clock: Callable[[], float] = time.perf_counter,
        before: Optional[RunRecord] = None,
    ) -> None:
        document = writer.document
        self._writer, self._processes = writer, SpeedWorkers(document, launch, dataset)
        self._observe, self._clock = observe, clock
        self._document, self._measuring = document, document.measuring
        self._baseline, *others = [c.name for c in document.racing]
        self._before, done = before, read_progress(before) if before else Progress()
        # still without a verdict
        self._racing = list_open(before) if before else others or [self._baseline]
        self._analyses_of = {**dict.fromkeys(self._racing, 0), **done.analyses_of}
        self._alpha = share_alpha(len(others))
        self._done, self._blocks = done, list(done.blocks)
        self._measured: List[Tuple[ProcessKey, Dict[str, Any]]] = []  # that is not stored yet
        self._turn, self._replicates, self._analyses = done.turns, done.replicates, done.analyses
        self._processes.wave, self._seen = done.waves, self._count_scored()
        self._start = clock() - done.duration_s
        self._pairs = 0
        self._alive = min(ALIVE_REPLICATES, self._measuring.replicates)
        self._steps, self._untimed = done.steps, 0
        self._block_s = 0.0
        self._start_s = self._round_s = 0.0  # of a wave; of an ABBA pair

    def run(self) -> None:
        """Measure until a verdict, the budget or the most replicates; workers are gone after it."""
        self._start = self._clock() - self._done.duration_s
        if not self._done.is_analysed:
            self._analyses += 1
            self._writer.append(self._done.create_analysis())
        self._write_conditions("before")
        try:
            rounds, action = self._done.abba_pairs, START_FRESH
            while action != STOP:
                if action == START_FRESH:
                    self._open_wave()
                rounds = rounds or self._choose_first_rounds()
                done = self._measure_rounds(rounds)
                action = self._analyse(last=done < rounds)
                rounds = self._pairs // 2  # of a fresh wave
                if action == USE_REMAINING:
                    rounds = sys.maxsize
                if action in (START_FRESH, STOP):
                    for event in self._processes.end():
                        self._writer.append(event)
            self._write_conditions("after")
        finally:
            self._processes.close()
            self._store()

    def _open_wave(self) -> None:
        started_s = self._now()
        first = self._replicates
        count = min(self._alive, self._measuring.replicates - first)
        if self._processes.wave == self._done.waves:
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
        """ABBA pairs of the first wave before anything is judged."""
        expected_s = 2 * len(self._processes.keys) * self._block_s
        if self._measuring.replicates < FEWEST_REPLICATES:  # an interval is not asked for
            return choose_first_abba_pairs(expected_s)
        return choose_first_abba_pairs(expected_s, self._alive, self._left_s(), self._start_s)

    def _open_first(self, wanted: int) -> int:
        """Start one replicate, which says how long blocks are and how many more may join it.

        The blocks of a phase that goes on are as long as they were.
        """
        began_s = self._now()
        ready = self._start_replicates(range(self._replicates, self._replicates + 1))
        step_time_s = max(each for each, _ in ready)
        sync_s = max(probed.sync_s for _, probed in ready)
        self._steps = self._steps or choose_speed_block_steps(
            step_time_s, sync_s, self._measuring.block_steps
        )
        self._untimed = choose_untimed_steps(step_time_s)
        self._block_s = (self._steps + self._untimed) * step_time_s
        peak_bytes = sum(probed.peak_rss_bytes for _, probed in ready)
        by_memory = int(MEMORY_SHARE * (read_available_bytes() or 0) / peak_bytes)
        share_s, start_s = START_SHARE * max(0.0, self._left_s()), self._now() - began_s
        by_time = int(share_s / max(start_s, 1e-9))
        alive = min(wanted, 1 + by_memory, 1 + by_time)
        # more of them than an interval takes are for the first analysis, and must leave it time
        measured_s = 2 * FEWEST_ABBA_PAIRS * len(ready) * self._block_s
        if (alive - 1) * (start_s + measured_s) > share_s:
            alive = min(alive, FEWEST_REPLICATES)
        self._alive = max(1, alive)
        return self._alive - 1

    def _start_replicates(self, replicates: range) -> List[Tuple[float, Probed]]:
        """Start, compile and warm up all roles. They import side by side and then take turns."""
        keys = list_keys(self._baseline, self._racing, replicates)
        self._show(f"speed: start replicate {', '.join(str(number + 1) for number in replicates)}")
        prepared = self._processes.start(keys)
        if self._before is not None:
            for key, answer in prepared.items():
                check_prepared(self._before.events, key.contender, answer)
        self._replicates += len(replicates)
        return [self._make_ready(key, answer) for key, answer in prepared.items()]

    def _make_ready(self, key: ProcessKey, prepared: Prepared) -> Tuple[float, Probed]:
        """The step time of a process once it has settled, and what was probed."""
        self._show(f"speed: compile and warm up replicate {key.replicate + 1}")
        compiled = self._processes.ask(key, "compile", Compiled)
        step_time_s = self._warm_up(key)
        self._store()
        probed = self._processes.ask(key, "probe", Probed, StepsRequest(steps=PROBE_STEPS))
        answers = {**dict(prepared), **dict(compiled), **dict(probed)}
        taken = set(SpeedSetupEvent.model_fields) & set(answers)
        event = SpeedSetupEvent(
            **self._processes.identify(key), **{name: answers[name] for name in taken}
        )
        self._writer.append(event)
        return step_time_s, probed

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

    def _measure_rounds(self, abba_pairs: int) -> int:
        """ABBA pairs that were done before the budget was used up; the first is always done."""
        for done in range(abba_pairs):
            is_first = self._processes.wave == self._done.waves and not self._pairs
            if self._round_s > self._left_s() and not is_first:
                return done
            started = self._clock()
            for _ in range(2):
                for name in next(self._orders):
                    wave = self._processes.wave + 1
                    self._show(f"speed: wave {wave}, round {self._pairs // 2 + 1}")
                    self._measure(self._by_name[name], "scored", self._steps, self._untimed)
                self._pairs += 1
            self._store()
            self._round_s = self._clock() - started
        return abba_pairs

    def _analyse(self, last: bool) -> str:
        """Judge what there is, if that is worth its price, and say what to do next."""
        data = self._count_scored()
        last = last or self._left_s() < self._round_s
        measured_s = self._pairs // 2 * self._round_s
        fits = self._start_s + measured_s / 2 <= self._left_s()
        fresh = fits and self._replicates < self._measuring.replicates
        if not last and fresh and not is_analysis_due(data, self._seen):
            return START_FRESH
        if data == self._seen:
            return STOP  # nothing new since the last analysis
        self._analyses, self._seen = self._analyses + 1, data
        racing = [name for name in self._racing if self._judge(name) == START_FRESH]
        action = STOP if last or not racing else START_FRESH if fits else USE_REMAINING
        self._racing = racing or self._racing
        self._write_conditions("during")
        self._writer.append(
            InterimAnalysisEvent(
                number=self._analyses,
                replicates=self._replicates,
                started_s=self._now(),
                action=action,
            )
        )
        return action

    def _count_scored(self) -> int:
        return sum(block.kind == "scored" for block in self._blocks)

    def _judge(self, contender: str) -> str:
        """The action that a contender asks for, by all its blocks so far."""
        self._analyses_of[contender] += 1
        blocks = select_contender(self._blocks, contender)
        judgement = judge_blocks(blocks, self._analyses_of[contender], self._measuring, self._alpha)
        assert judgement is not None
        return next_action(judgement, self._measuring)

    def _measure(self, key: ProcessKey, kind: str, steps: int, untimed_steps: int) -> float:
        """Give a process its turn; its step time."""
        started_s = self._now()
        answer = self._processes.measure(key, steps, untimed_steps)
        pair = self._pairs if kind == "scored" else None
        sizes = {"steps": steps, "untimed_steps": untimed_steps}
        fields = {"kind": kind, "pair": pair, "turn": self._turn, "started_s": started_s}
        self._measured.append((key, {**fields, **sizes, **answer}))
        self._turn += 1
        return float(answer["duration_s"]) / steps

    def _store(self) -> None:
        """Put what was measured since the last time into the record.

        One by one, between turns that leave the caches cold, writing takes several times as long.
        A kill takes away a part of an ABBA pair, which counts for nothing.
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
        return self._measuring.budget_s + self._done.duration_s - self._now()

    def _show(self, message: str) -> None:
        budget_s = self._measuring.budget_s
        self._observe(message, int(budget_s - max(0.0, self._left_s())), int(budget_s))
