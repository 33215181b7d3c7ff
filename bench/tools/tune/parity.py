"""Does a program compute what stock computes? Its first steps, in a process of its own.

A program is judged as graph mode is in `bench check`, with stock in the place of eager mode
(`parity/judge.py`): bit for bit by its losses and trained weights, else beside eager mode in
float64, else beside eager runs that were perturbed by one rounding. These three are trained once,
when they are first needed. The same process also tells how fast the program seems to be.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from safetensors.numpy import save_file

from ...config import Workload
from ...errors import InputError, WorkerError, WorkerTimeout
from ...parity.difference import clip_rounding, move_learning_rate
from ...parity.judge import AGAIN, EAGER, GRAPH, PERTURBED_SEEDS, REFERENCE, Comparison
from ...parity.result import BATCHES, LOSS_CURVE, TRAINED
from ...parity.tensors import Entry, Observer, level_path
from ...record.checkpoint import read_state
from ...record.events import Compiled, Ended, TimedBlock, TrainedBlock
from ...verdict.judge import SLOWER, Interval
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
IDENTICAL, DIFFERENT = "identical", "different"  # of the parity verdicts
TRAINED_STEPS = 5
BLOCKS, BLOCK_S = 3, 0.3  # timed in a check
PATIENCE, PATIENCE_S = 10.0, 20.0  # a program may take so many times as long as stock, and more
GROSS = 3.0  # a step that takes so many times as long as stock's needs no verdict
STOCK_RUN, OTHER_RUN = EAGER + AGAIN, GRAPH + AGAIN  # the judge's names of the runs with values
INITIAL, WEIGHTS = "initial.safetensors", level_path(Path(), TRAINED).name
BOUNDS = ("low", "high", "sequential_low", "sequential_high")

Losses = Sequence[Optional[float]]  # of each step, None if not finite


class Trained(NamedTuple):
    """The first steps of a process."""

    block: TrainedBlock
    digest: str  # over parameters and buffers
    folder: Path  # of the weights
    graph_ops: Optional[int]
    step_time_s: float  # of the quickest block


class Fidelity(BaseModel):
    """The parity of a program with stock."""

    verdict: str  # identical | equal within rounding | different
    reason: str  # a sentence part
    steps: int
    loss_difference: Optional[float]  # largest, relative; None if a loss is not finite


class Outcome(BaseModel):
    """The result of a program that failed, was rejected, or was timed."""

    model_config = ConfigDict(populate_by_name=True)

    verdict: str  # the speed verdict, or why there is none
    reason: str  # a sentence part
    speedup: Optional[Interval] = None  # base time over its time; None if it was not timed
    replicates: int = Field(0, validation_alias=AliasChoices("replicates", "heats"))
    fidelity: Optional[Fidelity] = None  # None if it trained nothing
    warnings: List[str] = Field(default_factory=list)  # of what disturbed the timing
    folder: Optional[str] = None  # of its record, within the search's folder


def measure_loss_difference(stock: Losses, other: Losses) -> Optional[float]:
    """Largest |other - stock| / |stock| over the steps; None if a loss is not finite."""
    ours, theirs = np.array(stock, dtype=float), np.array(other, dtype=float)
    largest = float(np.max(np.abs(theirs - ours) / np.maximum(np.abs(ours), 1e-30)))
    return largest if np.isfinite(largest) else None


def perturb(
    workload: Workload, weights: Mapping[str, np.ndarray], seed: int
) -> Tuple[Workload, Dict[str, np.ndarray]]:
    """The workload and initial weights of a perturbed run, see `parity/difference.py`."""
    source, moved = np.random.RandomState(seed), dict(weights)
    for name, value in weights.items():
        if value.dtype.kind == "f":
            toward = np.where(source.rand(*value.shape) < 0.5, -np.inf, np.inf)
            moved[name] = np.nextafter(value, toward.astype(value.dtype))
    if workload.clip_norm is not None:
        off = clip_rounding(max(value.size for value in weights.values()))
        clip_norm = workload.clip_norm * (1 + off if seed % 2 else 1 - off)
        workload = workload.model_copy(update={"clip_norm": clip_norm})
    return move_learning_rate(workload, seed), moved


class ParityCheck:
    """Trains the first steps of programs of one mode in fresh processes, and judges them.

    `run_baseline` comes before everything else. Values are written to `folder`.
    """

    def __init__(
        self,
        launch: Launcher,
        steps_per_epoch: int,
        dataset: Optional[Path],
        folder: Path,
        wait_s: float,
        observe: Callable[[str], None] = lambda message: None,
        trained_steps: int = TRAINED_STEPS,
    ) -> None:
        self._launch, self._steps_per_epoch, self._folder = launch, steps_per_epoch, folder
        self._dataset = None if dataset is None else str(dataset)
        self._observe, self._steps = observe, trained_steps
        self._workers: List[Worker] = []  # that are alive
        self._started = 0
        self._known: Dict[str, Outcome] = {}
        self._extra: Dict[str, List[Entry]] = {}  # of the reference and the perturbed runs
        self.wait_s, self.peak_rss_bytes = wait_s, 0  # longest wait for an answer; of a process

    def run_baseline(self, stock: Program) -> Trained:
        """Run one process of stock. Raises WorkerError or InputError if it fails."""
        self._stock, self.baseline = stock, self.train(stock, STOCK_RUN)
        self._entries = self._list_entries(self.baseline)
        return self.baseline

    def train(self, program: Program, run: str = OTHER_RUN) -> Trained:
        """The first steps in a process of their own; the weights go to the folder of `run`.

        A run of PERTURBED_SEEDS starts from stock's weights, each off by one rounding.
        """
        self._observe(f"first steps of {program.name}")
        initial = None
        if run in PERTURBED_SEEDS:
            weights = read_state(self._create_path(STOCK_RUN, INITIAL))
            workload, moved = perturb(program.workload, weights, PERTURBED_SEEDS[run])
            initial = str(self._create_path(run, INITIAL))
            program = program._replace(workload=workload)
            save_file(moved, initial)
        alive = len(self._workers)
        try:
            return self._train(self._start(program, initial), run)
        finally:
            self._end(alive)

    def check(self, programs: Sequence[Program]) -> Dict[str, Outcome]:
        """The outcome of each program: *screened*, or why it is not to be timed.

        The processes start side by side and train one at a time. The first answer is kept.
        """
        new = [program for program in programs if program.name not in self._known]
        try:
            for program, worker in [(program, self._start(program)) for program in new]:
                self._observe(f"parity of {program.name}")
                try:
                    self._known[program.name] = self._judge(program, self._train(worker, OTHER_RUN))
                except (WorkerError, InputError) as error:
                    self._known[program.name] = describe_failure(error)
        finally:
            self._end()
        return {program.name: self._known[program.name] for program in programs}

    def _start(self, program: Program, initial: Optional[str] = None) -> Worker:
        """A worker told to prepare."""
        self._started += 1
        name = f"{program.contender.mode}-{self._started:03d}"
        contender = program.contender.model_copy(update={"name": name})
        request = PrepareRequest(
            workload=program.workload,
            contender=contender,
            steps_per_epoch=self._steps_per_epoch,
            dataset=self._dataset,
            initial_weights=initial,
        )
        worker = self._launch(contender)
        self._workers.append(worker)
        worker.send("prepare", **request.model_dump(mode="json"))
        return worker

    def _end(self, first: int = 0) -> None:
        for worker in self._workers[first:]:
            worker.kill()
            worker.close()
        del self._workers[first:]

    def _train(self, worker: Worker, run: str) -> Trained:
        """Compile, train, save, and time some blocks."""
        answer, path = partial(ask, worker, timeout_s=self.wait_s), self._create_path(run, WEIGHTS)
        worker.receive("prepare", self.wait_s)
        if run == STOCK_RUN:  # for the perturbed runs
            initial = SaveRequest(path=str(self._create_path(run, INITIAL)))
            answer("save", answer=Saved, request=initial)
        compiled = answer("compile", answer=Compiled)
        block = answer("train", answer=TrainedBlock, request=StepsRequest(steps=self._steps))
        saved = answer("save", answer=Saved, request=SaveRequest(path=str(path)))
        steps = max(1, round(BLOCK_S * self._steps / max(block.duration_s, 1e-9)))
        timed = MeasureRequest(steps=steps)
        blocks = [answer("measure", answer=TimedBlock, request=timed) for _ in range(BLOCKS)]
        self.peak_rss_bytes = answer("end", answer=Ended).peak_rss_bytes
        step_time_s = min(timed.duration_s for timed in blocks) / steps
        return Trained(block, saved.digest, path.parent, compiled.graph_ops, step_time_s)

    def _create_path(self, run: str, name: str) -> Path:
        folder = self._folder.absolute() / run
        folder.mkdir(exist_ok=True)
        return folder / name

    def _judge(self, program: Program, trained: Trained) -> Outcome:
        stock, fidelity = self.baseline, self.compare(trained)
        times = trained.step_time_s / stock.step_time_s
        same = (trained.graph_ops, trained.digest) == (stock.graph_ops, stock.digest)
        idle = same and program.settings and all(setting.compiles for setting in program.settings)
        found = {"verdict": SCREENED, "reason": "", "fidelity": fidelity}
        if fidelity.verdict == DIFFERENT:
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
        """The parity of the run that was trained last with stock."""
        known = {STOCK_RUN: self._entries, OTHER_RUN: self._list_entries(other)}
        comparison = Comparison(known[STOCK_RUN], known[OTHER_RUN], oneflow=None)

        def run(names: Sequence[str], wanted: Any) -> List[List[Entry]]:
            return [known[name] if name in known else self._train_extra(name) for name in names]

        comparison.settle(run, self._folder)
        verdict, reason = comparison.conclude()
        first = next((lv.first_different for lv in comparison.levels if lv.first_different), None)
        if first is not None and first.note is None:
            reason = f"{first.level}: {first.name}: error {first.graph_error or 0.0:.2e} where "
            reason += f"stock's is {first.eager_error or 0.0:.2e}"
        apart = measure_loss_difference(self.baseline.block.losses, other.block.losses)
        return Fidelity(verdict=verdict, reason=reason, steps=self._steps, loss_difference=apart)

    def _train_extra(self, run: str) -> List[Entry]:
        """Stock's steps in eager mode, trained once; nothing if that fails."""
        if run not in self._extra:
            update = {"mode": EAGER, "dtype": "float64" if run == REFERENCE else "float32"}
            contender = self._stock.contender.model_copy(update=update)
            try:
                trained = self.train(self._stock._replace(name=run, contender=contender), run)
                self._extra[run] = self._list_entries(trained)
            except (WorkerError, InputError):
                self._extra[run] = []
        return self._extra[run]

    def _list_entries(self, trained: Trained) -> List[Entry]:
        """The tensors of a run; its losses are written beside its weights.

        Losses are compared up to each step, as one alone may meet stock's by luck. A graph that
        holds the loader gives no images.
        """
        block, found = trained.block, Observer({})
        losses = np.array(block.losses, dtype=float)  # None becomes nan
        curve = {f"losses to step {n + 1}": losses[: n + 1] for n in range(len(losses))}
        save_file(curve, level_path(trained.folder, LOSS_CURVE))
        weights = read_state(trained.folder / WEIGHTS)
        for level, tensors in ((LOSS_CURVE, curve), (TRAINED, weights)):
            for name, value in tensors.items():
                found.add(level, name, "tensor", value)
        images = block.images_digest or self.baseline.block.images_digest
        return [
            Entry(level=BATCHES, name=name, kind="batch", shape=[], digest=digest or "")
            for name, digest in (("labels", block.labels_digest), ("images", images))
        ] + found.take()


def describe_failure(error: Exception) -> Outcome:
    """The outcome of a program by its worker's error."""
    kind, reason = HUNG if isinstance(error, WorkerTimeout) else CRASHED, str(error)
    tail = getattr(error, "log_tail", "").strip().splitlines()
    if isinstance(error, InputError):
        kind = REFUSED
    elif kind == CRASHED and tail:
        reason += f"; it said: {tail[-1]}"
    return Outcome(verdict=kind, reason=reason)
