"""Runs a heat: fresh processes start, train their first steps, and take turns being timed.

One process at a time is allowed to run, in a random order and then in its reverse (ABBA with more
than two). What becomes of a candidate that crashes, hangs or is refused is a result of the heat; a
base that fails ends the search.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from oneflow_bench.config import Contender, Workload
from oneflow_bench.errors import InputError, WorkerError, WorkerTimeout
from oneflow_bench.tuning.fidelity import Trained
from oneflow_bench.tuning.race import BASE_PROCESSES, Heat, choose_double_rounds, is_gross
from oneflow_bench.turns import (
    WARMUP_S,
    choose_lead_steps,
    choose_speed_block_steps,
    generate_orders,
)

FEWEST_TRAINED, MOST_TRAINED, TRAINED_S = 3, 10, 1.0  # first steps, whose result is compared
PATIENCE, PATIENCE_S = 10.0, 20.0  # a candidate may take so many times as long as stock, and more
PROBE_STEPS = 3
CRASHED, HUNG, REFUSED, SLOW = "crashed", "hung", "refused", "slower"

Observe = Callable[[str], None]


class Entrant(NamedTuple):
    """A program of a heat."""

    name: str
    contender: Contender
    workload: Workload


class Failure(NamedTuple):
    """Why a candidate is out, apart from its times."""

    kind: str  # the verdict that is reported
    reason: str  # a sentence part


# a candidate, what it trained and the digest of its compiled operators -> why it is out, if it is
Screen = Callable[[Entrant, Trained, Optional[str]], Optional[Failure]]


class Scouted(NamedTuple):
    """What the first process of stock told: how the heats of this mode are measured."""

    trained: Trained
    operators_digest: Optional[str]
    trained_steps: int
    step_time_s: float
    start_s: float  # until its first timed step
    block_steps: int
    lead_steps: int
    double_rounds: int
    peak_rss_bytes: int
    environment: Dict[str, Any]

    @property
    def process_s(self) -> float:
        """What a process adds to a heat, from its start to its last block."""
        blocks = 2 * self.double_rounds * (self.block_steps + self.lead_steps)
        return self.start_s + blocks * self.step_time_s


class HeatResult(NamedTuple):
    """What a heat gave; `heat` is None where it ended before a double round was complete."""

    heat: Optional[Heat]
    failures: Dict[str, Failure]
    duration_s: float
    block_times_s: Dict[str, List[float]]  # raw, seconds of a step, by process


@dataclass
class _Process:
    key: str  # base/0, OMP_NUM_THREADS=1/0
    entrant: Entrant
    is_base: bool
    worker: Any
    blocks: List[float] = field(default_factory=list)  # seconds of a step


class HeatRunner:
    """Starts and times the processes of one mode's heats.

    `launch` starts a worker with the `send`, `receive`, `ask`, `kill` and `close` of
    `worker_process.WorkerProcess`. Values that were trained lie in `folder`.
    """

    def __init__(
        self,
        launch: Callable[[Contender], Any],
        steps_per_epoch: int,
        dataset: Optional[Path],
        folder: Path,
        timeout_s: float,
        observe: Observe = lambda message: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._launch, self._folder = launch, folder
        self._steps_per_epoch = steps_per_epoch
        self._dataset = None if dataset is None else str(dataset)
        self._timeout_s, self._observe, self._clock = timeout_s, observe, clock
        self._started = 0
        self._scouted: Optional[Scouted] = None

    def scout(self, base: Entrant) -> Scouted:
        """Run one process of stock: what it trains is stock's result, its times plan the heats."""
        begin = self._clock()
        self._observe("stock: start")
        worker = self._start(base)
        try:
            prepared = worker.receive("prepare", self._timeout_s)
            compiled = worker.ask("compile", self._timeout_s)
            self._observe("stock: first steps")
            parts = [self._train(worker, 1, self._timeout_s) for _ in range(2)]
            step_time_s = parts[1]["duration_s"]
            steps = min(MOST_TRAINED, max(FEWEST_TRAINED, round(TRAINED_S / step_time_s)))
            parts.append(self._train(worker, steps - 2, self._timeout_s))
            # digests of the batches are those of turns: a candidate takes its steps as these were
            trained = self._take_weights(worker, parts, None, self._timeout_s)
            start_s = self._clock() - begin
            probed = worker.ask("probe", self._timeout_s, steps=PROBE_STEPS)
        finally:
            worker.kill()
            worker.close()
        step_time_s = parts[-1]["duration_s"] / (steps - 2)
        block_steps = choose_speed_block_steps(step_time_s, probed["sync_s"], None)
        lead_steps = choose_lead_steps(step_time_s)
        double_round_s = 2 * (block_steps + lead_steps) * step_time_s
        self._scouted = Scouted(
            trained=trained,
            operators_digest=compiled["operators_digest"],
            trained_steps=steps,
            step_time_s=step_time_s,
            start_s=start_s,
            block_steps=block_steps,
            lead_steps=lead_steps,
            double_rounds=choose_double_rounds(start_s, double_round_s),
            peak_rss_bytes=probed["peak_rss_bytes"],
            environment=prepared["environment"],
        )
        return self._scouted

    def train_alone(
        self, entrant: Entrant, witness: Optional[int] = None
    ) -> Trained:
        """The first steps in a process of their own, for a reference or a witness."""
        scouted = self._known()
        self._observe(f"{entrant.name}: first steps")
        worker = self._start(entrant, witness)
        try:
            worker.receive("prepare", self._timeout_s)
            worker.ask("compile", self._timeout_s)
            return self._train_first_steps(worker, scouted, None, self._timeout_s)
        finally:
            worker.kill()
            worker.close()

    def run(
        self, base: Entrant, entrants: Sequence[Entrant], seed: int, screen: Screen,
        is_over: Callable[[], bool] = lambda: False,
    ) -> HeatResult:
        """One heat. `is_over` says after a double round whether the time for it is used up.

        Raises WorkerError or InputError where the base fails.
        """
        begin = self._clock()
        failures: Dict[str, Failure] = {}
        processes: List[_Process] = []
        try:
            for number in range(BASE_PROCESSES):
                processes.append(self._add(base, number, True))
            processes += [self._add(entrant, 0, False) for entrant in entrants]
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
        )

    def _add(self, entrant: Entrant, number: int, is_base: bool) -> _Process:
        self._observe(f"start {entrant.name}")
        key = f"{entrant.name}/{number}"
        return _Process(key, entrant, is_base, self._start(entrant))

    def _start(self, entrant: Entrant, witness: Optional[int] = None) -> Any:
        self._started += 1
        name = f"{entrant.contender.mode}-{self._started:03d}"
        worker = self._launch(entrant.contender.model_copy(update={"name": name}))
        request: Dict[str, Any] = {
            "workload": entrant.workload.model_dump(),
            "contender": entrant.contender.model_dump(),
            "steps_per_epoch": self._steps_per_epoch,
            "dataset": self._dataset,
        }
        if witness is not None:
            request["witness"] = witness
        worker.send("prepare", **request)
        return worker

    def _make_ready(
        self, processes: Sequence[_Process], failures: Dict[str, Failure], screen: Screen
    ) -> List[_Process]:
        """Import and build side by side; compile and train the first steps one at a time."""
        scouted = self._known()
        together_s = scouted.start_s * len(processes) / PATIENCE  # they share the cores
        prepared = [
            p for p in processes
            if self._attempt(
                p, failures, lambda p=p: p.worker.receive("prepare", self._wait_s(p, together_s))
            )
        ]  # fmt: skip
        return [
            p for p in prepared
            if self._attempt(p, failures, lambda p=p: self._warm_up(p, failures, screen))
            and p.entrant.name not in failures
        ]  # fmt: skip

    def _warm_up(self, process: _Process, failures: Dict[str, Failure], screen: Screen) -> None:
        scouted = self._known()
        self._observe(f"first steps of {process.entrant.name}")
        compiled = process.worker.ask("compile", self._wait_s(process, scouted.start_s))
        trained_s = scouted.trained_steps * scouted.step_time_s
        trained = self._train_first_steps(
            process.worker, scouted, scouted.trained.digest, self._wait_s(process, trained_s)
        )
        if not process.is_base:
            failure = screen(process.entrant, trained, compiled["operators_digest"])
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
        scouted = self._known()
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
                        self._attempt(process, failures, lambda p=process: self._score(p))
            self._drop_gross(ready, failures)
        return scouted.double_rounds

    def _score(self, process: _Process) -> None:
        scouted = self._known()
        process.blocks.append(
            self._time_block(process, scouted.block_steps, scouted.lead_steps)
        )

    def _time_block(self, process: _Process, steps: int, lead_steps: int) -> float:
        usual_s = (steps + lead_steps) * self._known().step_time_s
        answer = process.worker.ask(
            "measure", self._wait_s(process, usual_s), steps=steps, lead_steps=lead_steps
        )
        return float(answer["duration_s"]) / steps

    def _drop_gross(self, ready: Sequence[_Process], failures: Dict[str, Failure]) -> None:
        base_s = float(np.median([p.blocks[-2:] for p in ready if p.is_base]))
        for process in ready:
            name = process.entrant.name
            if process.is_base or name in failures:
                continue
            time_s = min(process.blocks[-2:])
            if is_gross(base_s, time_s):
                times = time_s / base_s
                failures[name] = Failure(SLOW, f"a step took {times:.1f} times as long as stock's")
                process.worker.kill()

    def _attempt(
        self, process: _Process, failures: Dict[str, Failure], turn: Callable[[], Any]
    ) -> bool:
        """Whether the turn worked; what went wrong with a candidate is noted, with a base raised."""
        try:
            turn()
            return True
        except (WorkerError, InputError) as error:
            if process.is_base:
                raise
            failures[process.entrant.name] = _describe_failure(error)
            process.worker.kill()
            return False

    def _train_first_steps(
        self, worker: Any, scouted: Scouted, expected: Optional[str], wait_s: float
    ) -> Trained:
        split = [1, 1, scouted.trained_steps - 2]  # as the scout took them
        parts = [self._train(worker, steps, wait_s) for steps in split]
        return self._take_weights(worker, parts, expected, wait_s)

    def _train(self, worker: Any, steps: int, wait_s: float) -> Dict[str, Any]:
        answer: Dict[str, Any] = worker.ask("train", wait_s, steps=steps)
        return answer

    def _take_weights(
        self, worker: Any, parts: Sequence[Dict[str, Any]], expected: Optional[str], wait_s: float
    ) -> Trained:
        path = self._folder / f"{self._started:03d}-{id(worker)}.safetensors"
        answer = worker.ask("weights", wait_s, path=str(path.absolute()), expected=expected)
        images = [part["images_digest"] for part in parts]
        return Trained(
            losses=[loss for part in parts for loss in part["losses"]],
            labels_digest="".join(part["labels_digest"] for part in parts),
            images_digest=None if None in images else "".join(images),
            digest=answer["digest"],
            weights=path if answer["written"] else None,
        )

    def _wait_s(self, process: _Process, usual_s: float) -> float:
        """Longest wait for an answer; a candidate may be slow, and must not use up the budget."""
        if process.is_base:
            return self._timeout_s
        return min(self._timeout_s, PATIENCE_S + PATIENCE * usual_s)

    def _known(self) -> Scouted:
        assert self._scouted is not None, "a heat needs the scout before it"
        return self._scouted


def _describe_failure(error: Exception) -> Failure:
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
