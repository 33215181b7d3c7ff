"""Runs a heat: fresh processes start, train their first steps, and take turns being timed.

One process at a time is allowed to run, in a random order and then in its reverse (ABBA with more
than two). What becomes of a candidate that crashes, hangs or is refused is a result of the heat; a
base that fails ends the search.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ...errors import InputError, WorkerError, WorkerTimeout
from ...measure.order import WARMUP_S, generate_orders
from .candidates import STOCK_NAME
from .fidelity import Trained
from .first_steps import Entrant, FirstSteps, Observe
from .race import BASE_PROCESSES, Heat, is_gross

PATIENCE, PATIENCE_S = 10.0, 20.0  # a candidate may take so many times as long as stock, and more
CRASHED, HUNG, REFUSED, SLOW = "crashed", "hung", "refused", "slower"


class Failure(NamedTuple):
    """Why a candidate is out, apart from its times."""

    kind: str  # the verdict that is reported
    reason: str  # a sentence part


# a candidate, what it trained and the digest of its compiled operators -> why it is out, if it is
Screen = Callable[[Entrant, Trained, Optional[str]], Optional[Failure]]


class HeatResult(NamedTuple):
    """What a heat gave; `heat` is None where it ended before a double round was complete."""

    heat: Optional[Heat]
    failures: Dict[str, Failure]
    duration_s: float
    block_times_s: Dict[str, List[float]]  # raw, seconds of a step, by process
    screen_s: float = 0.0  # of the duration, what the parity of new candidates took


@dataclass
class _Process:
    key: str  # base/0, OMP_NUM_THREADS=1/0
    entrant: Entrant
    is_base: bool
    worker: Any
    blocks: List[float] = field(default_factory=list)  # seconds of a step


class HeatRunner:
    """Times the processes of one mode's heats; `first` has scouted before the first of them."""

    def __init__(
        self,
        first: FirstSteps,
        observe: Observe = lambda message: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._first, self._observe, self._clock = first, observe, clock
        self.stock_repeats = True  # bit for bit, in each process of stock so far
        self._screen_s = 0.0

    def run(
        self,
        base: Entrant,
        entrants: Sequence[Entrant],
        seed: int,
        screen: Screen,
        is_over: Callable[[], bool] = lambda: False,
    ) -> HeatResult:
        """One heat. `is_over` says after a double round whether the time for it is used up.

        Raises WorkerError or InputError where the base fails.
        """
        begin, self._screen_s = self._clock(), 0.0
        failures: Dict[str, Failure] = {}
        processes: List[_Process] = []
        try:
            for number in range(BASE_PROCESSES):
                processes.append(self._add(base, number, True))
            for entrant in entrants:  # one by one: an interruption must find those that are there
                processes.append(self._add(entrant, 0, False))
            ready = self._make_ready(processes, failures, screen)
            rounds = self._measure(ready, failures, seed, is_over)
        finally:
            for process in processes:
                process.worker.kill()
                process.worker.close()
        alive = [p for p in ready if p.entrant.name not in failures]
        return HeatResult(
            heat=_collect(alive, rounds) if rounds else None,
            failures=failures,
            duration_s=self._clock() - begin,
            block_times_s={p.key: p.blocks for p in ready},
            screen_s=self._screen_s,
        )

    def _add(self, entrant: Entrant, number: int, is_base: bool) -> _Process:
        self._observe(f"start {entrant.name}")
        key = f"{entrant.name}/{number}"
        return _Process(key, entrant, is_base, self._first.start(entrant))

    def _make_ready(
        self, processes: Sequence[_Process], failures: Dict[str, Failure], screen: Screen
    ) -> List[_Process]:
        """Import and build side by side; compile and train the first steps one at a time."""
        scouted = self._first.scouted
        together_s = scouted.start_s * len(processes) / PATIENCE  # they share the cores
        ready = []
        for process in processes:
            receive = partial(process.worker.receive, "prepare", self._wait_s(process, together_s))
            if self._attempt(process, failures, receive):
                ready.append(process)
        for process in ready:
            self._attempt(process, failures, partial(self._warm_up, process, failures, screen))
        return [process for process in ready if process.entrant.name not in failures]

    def _warm_up(self, process: _Process, failures: Dict[str, Failure], screen: Screen) -> None:
        scouted = self._first.scouted
        self._observe(f"first steps of {process.entrant.name}")
        compiled = process.worker.ask("compile", self._wait_s(process, scouted.start_s))
        trained_s = scouted.trained_steps * scouted.step_time_s
        expected, wait_s = scouted.trained.digest, self._wait_s(process, trained_s)
        trained = self._first.train(process.worker, expected, wait_s)
        if process.entrant.name == STOCK_NAME:
            self.stock_repeats = self.stock_repeats and trained.digest == expected
        if not process.is_base:
            begin = self._clock()
            failure = screen(process.entrant, trained, compiled["operators_digest"])
            self._screen_s += self._clock() - begin
            if failure is not None:
                failures[process.entrant.name] = failure
                process.worker.kill()
                return
        more = math.ceil((WARMUP_S - trained_s) / scouted.step_time_s)
        if more > 0:
            self._time_block(process, more, 0)

    def _measure(
        self,
        ready: Sequence[_Process],
        failures: Dict[str, Failure],
        seed: int,
        is_over: Callable[[], bool],
    ) -> int:
        """Double rounds that were completed."""
        scouted = self._first.scouted
        by_key = {process.key: process for process in ready}
        orders = generate_orders(list(by_key), seed)
        for done in range(scouted.double_rounds):
            if done and is_over():
                return done
            for _ in range(2):
                for key in next(orders):
                    process = by_key[key]
                    if process.entrant.name not in failures:
                        self._observe(f"round {done + 1}: {process.entrant.name}")
                        self._attempt(process, failures, partial(self._score, process))
            self._drop_gross(ready, failures)
        return scouted.double_rounds

    def _score(self, process: _Process) -> None:
        scouted = self._first.scouted
        process.blocks.append(self._time_block(process, scouted.block_steps, scouted.lead_steps))

    def _time_block(self, process: _Process, steps: int, lead_steps: int) -> float:
        usual_s = (steps + lead_steps) * self._first.scouted.step_time_s
        answer = process.worker.ask(
            "measure", self._wait_s(process, usual_s), steps=steps, lead_steps=lead_steps
        )
        return float(answer["duration_s"]) / steps

    def _drop_gross(self, ready: Sequence[_Process], failures: Dict[str, Failure]) -> None:
        base_s = [time_s for p in ready if p.is_base for time_s in p.blocks]
        for process in ready:
            name = process.entrant.name
            if process.is_base or name in failures:
                continue
            if is_gross(base_s, process.blocks):
                times = float(np.median(process.blocks) / np.median(base_s))
                failures[name] = Failure(
                    SLOW, f"a step took {times:.1f} times as long as the base's"
                )
                process.worker.kill()

    def _attempt(
        self, process: _Process, failures: Dict[str, Failure], turn: Callable[[], Any]
    ) -> bool:
        """Whether the turn worked. What went wrong is noted of a candidate, raised of a base."""
        try:
            turn()
            return True
        except (WorkerError, InputError) as error:
            if process.is_base:
                raise
            failures[process.entrant.name] = describe_failure(error)
            process.worker.kill()
            return False

    def _wait_s(self, process: _Process, usual_s: float) -> float:
        """Longest wait for an answer; a candidate may be slow, and must not use up the budget."""
        if process.is_base:
            return self._first.timeout_s
        return min(self._first.timeout_s, PATIENCE_S + PATIENCE * usual_s)


def describe_failure(error: Exception) -> Failure:
    """What a worker's error says of its candidate."""
    kind = HUNG if isinstance(error, WorkerTimeout) else CRASHED
    if isinstance(error, InputError):
        kind = REFUSED
    reason = str(error)
    tail = getattr(error, "log_tail", "").strip().splitlines()
    if kind == CRASHED and tail:
        reason += f"; it said: {tail[-1]}"
    return Failure(kind, reason)


def _collect(processes: Sequence[_Process], double_rounds: int) -> Heat:
    """Mean log step time of each process in each double round that is complete."""
    times: List[Tuple[str, np.ndarray]] = []
    for process in processes:
        logs = np.log(np.array(process.blocks[: 2 * double_rounds]))
        times.append((process.entrant.name, logs.reshape(double_rounds, 2).mean(axis=1)))
    return Heat(tuple(name for name, _ in times), np.array([values for _, values in times]))
