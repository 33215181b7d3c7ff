"""The first steps of a fresh process: what they compute, and what they tell of the time it takes.

Every process of a search starts the same way: it trains the same steps from the same weights, and
what comes out is compared with stock's. The first process of stock, the scout, says how the heats
are measured.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

from ...config import Contender, Workload
from ...measure.order import choose_speed_block_steps, choose_untimed_steps
from .fidelity import Trained
from .race import choose_double_rounds

FEWEST_TRAINED, MOST_TRAINED, TRAINED_S = 3, 10, 1.0
PROBE_STEPS = 3

Observe = Callable[[str], None]


class Entrant(NamedTuple):
    """A program that can be run."""

    name: str
    contender: Contender
    workload: Workload


class Scouted(NamedTuple):
    """What the first process of stock told: how the heats of this mode are measured."""

    trained: Trained
    operators_digest: Optional[str]
    trained_steps: int
    step_time_s: float
    prepare_s: float  # to import and to build, which processes do side by side
    start_s: float  # until its first timed step, that included
    block_steps: int
    lead_steps: int
    double_rounds: int
    peak_rss_bytes: int
    environment: Dict[str, Any]

    @property
    def process_s(self) -> float:
        """About what a process adds to a heat, from its start to its last block."""
        blocks = 2 * self.double_rounds * (self.block_steps + self.lead_steps)
        alone_s = self.start_s - self.prepare_s + blocks * self.step_time_s
        return self.prepare_s / len(os.sched_getaffinity(0)) + alone_s


class FirstSteps:
    """Starts the workers of one mode and runs their first steps.

    `launch` starts a worker with the `send`, `receive`, `ask`, `kill` and `close` of
    `worker_process.WorkerProcess`. Weights that are not stock's are written to `folder`.
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
        trained_steps: Optional[int] = None,
    ) -> None:
        self._launch, self._folder = launch, folder
        self._steps_per_epoch = steps_per_epoch
        self._dataset = None if dataset is None else str(dataset)
        self.timeout_s, self._observe, self._clock = timeout_s, observe, clock
        self._trained_steps = trained_steps  # None: by their time
        self._started = self._written = 0
        self._scouted: Optional[Scouted] = None

    @property
    def scouted(self) -> Scouted:
        """What the scout told; only after `scout`."""
        assert self._scouted is not None, "a heat needs the scout before it"
        return self._scouted

    def scout(self, base: Entrant) -> Scouted:
        """Run one process of stock: what it trains is stock's result, its times plan the heats."""
        begin = self._clock()
        self._observe("stock: start")
        worker = self.start(base)
        try:
            prepared = worker.receive("prepare", self.timeout_s)
            prepare_s = self._clock() - begin
            compiled = worker.ask("compile", self.timeout_s)
            self._observe("stock: first steps")
            parts = [self._take_steps(worker, 1, self.timeout_s) for _ in range(2)]
            step_time_s = parts[1]["duration_s"]
            steps = self._choose_steps(step_time_s)
            parts.append(self._take_steps(worker, steps - 2, self.timeout_s))
            # digests of the batches are those of turns: a candidate takes its steps as these were
            trained = self._take_weights(worker, parts, None, self.timeout_s)
            start_s = self._clock() - begin
            probed = worker.ask("probe", self.timeout_s, steps=PROBE_STEPS)
        finally:
            worker.kill()
            worker.close()
        step_time_s = parts[-1]["duration_s"] / (steps - 2)
        block_steps = choose_speed_block_steps(step_time_s, probed["sync_s"], None)
        lead_steps = choose_untimed_steps(step_time_s)
        double_round_s = 2 * (block_steps + lead_steps) * step_time_s
        self._scouted = Scouted(
            trained=trained,
            operators_digest=compiled["operators_digest"],
            trained_steps=steps,
            step_time_s=step_time_s,
            prepare_s=prepare_s,
            start_s=start_s,
            block_steps=block_steps,
            lead_steps=lead_steps,
            double_rounds=choose_double_rounds(start_s, double_round_s),
            peak_rss_bytes=probed["peak_rss_bytes"],
            environment=prepared["environment"],
        )
        return self._scouted

    def train_alone(self, entrant: Entrant, witness: Optional[int] = None) -> Trained:
        """The first steps in a process of their own, for a reference or a witness."""
        self._observe(f"{entrant.name}: first steps")
        worker = self.start(entrant, witness)
        try:
            worker.receive("prepare", self.timeout_s)
            worker.ask("compile", self.timeout_s)
            return self.train(worker, None, self.timeout_s)
        finally:
            worker.kill()
            worker.close()

    def start(self, entrant: Entrant, witness: Optional[int] = None) -> Any:
        """A worker told to prepare; a witness has its weights moved by one rounding."""
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
        try:
            worker.send("prepare", **request)
        except BaseException:
            worker.kill()
            worker.close()
            raise
        return worker

    def _choose_steps(self, step_time_s: float) -> int:
        """At least FEWEST_TRAINED: the scout takes two one by one, for their time."""
        wanted = round(TRAINED_S / step_time_s)
        steps = min(MOST_TRAINED, wanted) if self._trained_steps is None else self._trained_steps
        return max(FEWEST_TRAINED, steps)

    def train(self, worker: Any, expected: Optional[str], wait_s: float) -> Trained:
        """The first steps of a compiled worker; weights are written where not `expected`."""
        split = [1, 1, self.scouted.trained_steps - 2]  # as the scout took them
        parts = [self._take_steps(worker, steps, wait_s) for steps in split]
        return self._take_weights(worker, parts, expected, wait_s)

    def _take_steps(self, worker: Any, steps: int, wait_s: float) -> Dict[str, Any]:
        answer: Dict[str, Any] = worker.ask("train", wait_s, steps=steps)
        return answer

    def _take_weights(
        self, worker: Any, parts: Sequence[Dict[str, Any]], expected: Optional[str], wait_s: float
    ) -> Trained:
        self._written += 1
        path = self._folder / f"{self._written:03d}.safetensors"
        answer = worker.ask("weights", wait_s, path=str(path.absolute()), expected=expected)
        images = [part["images_digest"] for part in parts]
        return Trained(
            losses=[loss for part in parts for loss in part["losses"]],
            labels_digest="".join(part["labels_digest"] for part in parts),
            images_digest=None if None in images else "".join(images),
            digest=answer["digest"],
            weights=path if answer["written"] else None,
        )
