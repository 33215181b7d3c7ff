"""Does a program compute what stock computes?

A candidate trains its first steps in a process of its own. It is rejected if it fails, if its
batches are others, or if a loss is off by GROSS_LOSS. The same process tells how fast it seems to
be. A program that is faster is taken only if the judge of `bench check` finds it identical or equal
within rounding, with stock in the place of eager mode.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np
from pydantic import AliasChoices, BaseModel, Field

from ...errors import BenchError, InputError, WorkerError, WorkerTimeout
from ...parity.result import ModelCheck
from ...parity.run import check_pair, create_check_launcher
from ...parity.tensors import ContenderPair
from ...plan.plan import Plan
from ...record.events import Compiled, Ended, TimedBlock, TrainedBlock
from ...verdict.judge import FASTER, SLOWER, Interval
from ...worker.messages import (
    Launcher,
    MeasureRequest,
    PrepareRequest,
    Saved,
    SaveRequest,
    StepsRequest,
    Worker,
    ask,
)
from .candidates import Program

# verdicts on a program that is not timed beside others
CRASHED, HUNG, REFUSED = "crashed", "hung", "refused"
PARITY_FAILED, NO_EFFECT, SCREENED = "parity failed", "no effect", "screened"
IDENTICAL, FAITHFUL = "identical", ("identical", "equal within rounding")  # parity verdicts
NOT_JUDGED = "not judged"
TRAINED_STEPS = 5
BLOCKS, BLOCK_S = 3, 0.3  # timed in a check
PATIENCE, PATIENCE_S = 10.0, 20.0  # a program may take so many times as long as stock, and more
GROSS = 3.0  # a step that takes so many times as long as stock's needs no verdict
GROSS_LOSS = 0.1  # relative; a larger difference of a loss needs no judge
WEIGHTS = "weights.safetensors"
BOUNDS = ("low", "high", "sequential_low", "sequential_high")

Losses = Sequence[Optional[float]]  # of each step, None if not finite
Judge = Callable[[Program, Program], ModelCheck]  # stock and another program of its mode


class Trained(NamedTuple):
    block: TrainedBlock
    digest: str  # over parameters and buffers
    graph_ops: Optional[int]
    step_time_s: float  # of the quickest block


class Fidelity(BaseModel):
    verdict: str  # that of the judge; identical or not judged after the first steps alone
    reason: str  # a sentence part
    steps: int
    loss_difference: Optional[float] = None  # largest, relative; None: not finite, or not told


class Outcome(BaseModel, populate_by_name=True):
    """The result of a program that failed, was rejected, or was timed."""

    verdict: str  # the speed verdict, or why there is none
    reason: str  # a sentence part
    speedup: Optional[Interval] = None  # base time over its time; None if it was not timed
    replicates: int = Field(0, validation_alias=AliasChoices("replicates", "heats"))
    fidelity: Optional[Fidelity] = None  # None if it trained nothing
    warnings: List[str] = Field(default_factory=list)  # of what disturbed the timing
    folder: Optional[str] = None  # of its record, within the search's folder

    @property
    def ratio(self) -> float:
        """Of the speedup; 0 if it was not timed."""
        return 0.0 if self.speedup is None else self.speedup.ratio


def measure_loss_difference(stock: Losses, other: Losses) -> Optional[float]:
    """Largest |other - stock| / |stock| over the steps; None if a loss is not finite."""
    ours, theirs = np.array(stock, dtype=float), np.array(other, dtype=float)
    largest = float(np.max(np.abs(theirs - ours) / np.maximum(np.abs(ours), 1e-30)))
    return largest if np.isfinite(largest) else None


def create_judge(plan: Plan, folder: Path, dataset: Optional[Path], timeout_s: float) -> Judge:
    """The judge of `bench check`; its logs are in `folder`/logs."""
    launch, numbers = create_check_launcher(folder), itertools.count(1)

    def judge(stock: Program, program: Program) -> ModelCheck:
        name = f"parity-{program.contender.mode}-{next(numbers)}"
        pair = ContenderPair(
            workload=program.workload,
            steps_per_epoch=plan.steps_per_epoch,
            steps=TRAINED_STEPS,
            dataset=dataset,
            baseline=stock.contender.model_copy(update={"name": f"{name}-stock"}),
            contender=program.contender.model_copy(update={"name": name}),
        )
        return check_pair(pair, folder, timeout_s, lambda *shown: None, launch)

    return judge


@dataclass
class ParityCheck:
    """Trains the first steps of programs of one mode in fresh processes, and asks the judge.

    `run_baseline` comes before everything else. Weights are written to `folder`.
    """

    launch: Launcher
    judge_pair: Judge
    steps_per_epoch: int
    dataset: Optional[Path]
    folder: Path
    wait_s: float  # longest wait for an answer
    observe: Callable[[str], None] = lambda message: None
    steps: int = TRAINED_STEPS
    peak_rss_bytes: int = 0  # of a process
    _workers: List[Worker] = field(default_factory=list)  # that are alive
    _started: int = 0
    _known: Dict[str, Outcome] = field(default_factory=dict)
    _judged: Dict[str, Fidelity] = field(default_factory=dict)

    def run_baseline(self, stock: Program) -> Trained:
        """Run one process of stock. Raises WorkerError or InputError if it fails."""
        self._stock, self.baseline = stock, self.train(stock)
        return self.baseline

    def train(self, program: Program, initial: Optional[Path] = None) -> Trained:
        """The first steps in a process of their own, from the weights in `initial` if given."""
        self.observe(f"first steps of {program.name}")
        alive = len(self._workers)
        try:
            return self._train(self._start(program, initial))
        finally:
            self._end(alive)

    def accept(self, program: Program, outcome: Outcome) -> Outcome:
        """The outcome with the verdict of the judge, which is asked if the program is faster."""
        if outcome.verdict != FASTER:
            return outcome
        told = None if outcome.fidelity is None else outcome.fidelity.loss_difference
        judged = self.judge(program).model_copy(update={"loss_difference": told})
        if judged.verdict in FAITHFUL:
            return outcome.model_copy(update={"fidelity": judged})
        reason = f"{judged.verdict}; {judged.reason}"
        failed = {"fidelity": judged, "verdict": PARITY_FAILED, "reason": reason}
        return outcome.model_copy(update=failed)

    def judge(self, program: Program) -> Fidelity:
        """The judge's verdict, asked once. A failed worker is inconclusive."""
        if program.name not in self._judged:
            self.observe(f"parity of {program.name}")
            try:
                check = self.judge_pair(self._stock, program)
                found = Fidelity(verdict=check.verdict, reason=check.reason, steps=check.steps)
            except BenchError as error:
                found = Fidelity(verdict="inconclusive", reason=str(error), steps=self.steps)
            self._judged[program.name] = found
        return self._judged[program.name]

    def check(self, programs: Sequence[Program]) -> Dict[str, Outcome]:
        """The outcome of each program: *screened*, or why it is not to be timed.

        The processes start side by side and train one at a time. The first answer is kept.
        """
        new = [program for program in programs if program.name not in self._known]
        try:
            for program, worker in [(program, self._start(program)) for program in new]:
                self.observe(f"parity of {program.name}")
                try:
                    self._known[program.name] = self._screen(program, self._train(worker))
                except (WorkerError, InputError) as error:
                    self._known[program.name] = describe_failure(error)
        finally:
            self._end()
        return {program.name: self._known[program.name] for program in programs}

    def _start(self, program: Program, initial: Optional[Path] = None) -> Worker:
        self._started += 1
        name = f"{program.contender.mode}-{self._started:03d}"
        contender = program.contender.model_copy(update={"name": name})
        request = PrepareRequest(
            workload=program.workload,
            contender=contender,
            steps_per_epoch=self.steps_per_epoch,
            dataset=None if self.dataset is None else str(self.dataset),
            initial_weights=None if initial is None else str(initial),
        )
        worker = self.launch(contender)
        self._workers.append(worker)
        worker.send("prepare", **request.model_dump(mode="json"))
        return worker

    def _end(self, first: int = 0) -> None:
        for worker in self._workers[first:]:
            worker.kill()
            worker.close()
        del self._workers[first:]

    def _train(self, worker: Worker) -> Trained:
        """Compile, train, digest the weights, and time some blocks."""
        answer = partial(ask, worker, timeout_s=self.wait_s)
        worker.receive("prepare", self.wait_s)
        compiled = answer("compile", answer=Compiled)
        block = answer("train", answer=TrainedBlock, request=StepsRequest(steps=self.steps))
        weights = SaveRequest(path=str(self.folder.absolute() / WEIGHTS))
        saved = answer("save", answer=Saved, request=weights)
        steps = max(1, round(BLOCK_S * self.steps / max(block.duration_s, 1e-9)))
        timed = MeasureRequest(steps=steps)
        blocks = [answer("measure", answer=TimedBlock, request=timed) for _ in range(BLOCKS)]
        self.peak_rss_bytes = answer("end", answer=Ended).peak_rss_bytes
        step_time_s = min(timed.duration_s for timed in blocks) / steps
        return Trained(block, saved.digest, compiled.graph_ops, step_time_s)

    def _screen(self, program: Program, trained: Trained) -> Outcome:
        stock, fidelity = self.baseline, self.compare(trained)
        times = trained.step_time_s / stock.step_time_s
        same = (trained.graph_ops, trained.digest) == (stock.graph_ops, stock.digest)
        idle = same and program.settings and all(setting.compiles for setting in program.settings)
        found = {"verdict": SCREENED, "reason": "", "fidelity": fidelity}
        if fidelity.verdict == PARITY_FAILED:
            found.update(verdict=PARITY_FAILED, reason=fidelity.reason)
        elif idle:
            reason = "the graph compiles to as many operators as stock's, with the same results"
            found.update(verdict=NO_EFFECT, reason=reason)
        elif times > GROSS:
            reason = f"a step took {times:.1f} times as long as stock's"
            found.update(verdict=SLOWER, reason=reason)
        else:
            found["speedup"] = {"ratio": 1 / times, **dict.fromkeys(BOUNDS)}
        return Outcome.model_validate(found)

    def compare(self, other: Trained) -> Fidelity:
        """The first steps of a run beside stock's: identical, not judged, or parity failed.

        A graph that holds the loader gives no images.
        """
        ours, theirs = self.baseline.block, other.block
        apart = measure_loss_difference(ours.losses, theirs.losses)
        images = {ours.images_digest, theirs.images_digest} - {None}
        same = (ours.losses, self.baseline.digest) == (theirs.losses, other.digest)
        verdict, reason = NOT_JUDGED, "other bits than stock's"
        if ours.labels_digest != theirs.labels_digest or len(images) > 1:
            verdict, reason = PARITY_FAILED, "it trained other batches than stock"
        elif same:
            verdict, reason = IDENTICAL, "the losses and the weights are bitwise equal"
        elif apart is None or apart > GROSS_LOSS:
            size = "not finite" if apart is None else f"off by {apart:.1e} of stock's"
            verdict, reason = PARITY_FAILED, f"a loss of its first steps is {size}"
        return Fidelity(verdict=verdict, reason=reason, steps=self.steps, loss_difference=apart)


def describe_failure(error: Exception) -> Outcome:
    kind, reason = HUNG if isinstance(error, WorkerTimeout) else CRASHED, str(error)
    tail = getattr(error, "log_tail", "").strip().splitlines()
    if isinstance(error, InputError):
        kind = REFUSED
    elif kind == CRASHED and tail:
        reason += f"; it said: {tail[-1]}"
    return Outcome(verdict=kind, reason=reason)
