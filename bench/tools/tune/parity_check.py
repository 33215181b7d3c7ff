"""Runs the parity check: the first steps of a program in a process of its own, beside stock's.

The runs that a difference is judged beside are trained once for a mode, when they are first needed.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ...config import Contender
from ...errors import InputError, WorkerError, WorkerTimeout
from ...verdict.judge import SLOWER, Judgement
from .candidates import EAGER, Program
from .fidelity import (
    DIFFERENT,
    Fidelity,
    Trained,
    is_identical,
    judge_fidelity,
    needs_perturbed_runs,
)

# verdicts on a program that is not timed
CRASHED, HUNG, REFUSED = "crashed", "hung", "refused"
PARITY_FAILED, NO_EFFECT = "parity failed", "no effect"
FEWEST_TRAINED, MOST_TRAINED, TRAINED_S = 3, 10, 1.0
PERTURBED_SEEDS = (1, 2)
PATIENCE, PATIENCE_S = 10.0, 20.0  # a program may take so many times as long as stock, and more
GROSS = 3.0  # a step that takes so many times as long as stock's needs no verdict

Launch = Callable[[Contender], Any]  # a worker with the calls of `worker.process.WorkerProcess`


class Outcome(NamedTuple):
    """The result of a program that failed, was rejected or was timed."""

    verdict: str  # the judgement's, or why it was not timed
    reason: str  # a sentence part
    judgement: Optional[Judgement] = None
    warnings: Sequence[str] = ()  # of what disturbed the timing
    folder: Optional[str] = None  # of its record


class ParityCheck:
    """Trains the first steps of programs of one mode in fresh processes, and judges them.

    `run_baseline` comes before everything else. Weights that are not stock's are written to
    `folder`. `trained_steps` fixes how many steps are trained; None chooses 3 to 10 by their time.
    """

    def __init__(
        self,
        launch: Launch,
        steps_per_epoch: int,
        dataset: Optional[Path],
        folder: Path,
        timeout_s: float,
        observe: Callable[[str], None] = lambda message: None,
        clock: Callable[[], float] = time.perf_counter,
        trained_steps: Optional[int] = None,
    ) -> None:
        data = None if dataset is None else str(dataset)
        self._about = {"steps_per_epoch": steps_per_epoch, "dataset": data}
        self._launch, self._folder, self._timeout_s = launch, folder, timeout_s
        self._observe, self._clock, self._steps = observe, clock, trained_steps
        self._started = self._written = 0
        self._known: Dict[str, Tuple[Optional[Fidelity], Optional[Outcome]]] = {}
        self._extra: Dict[str, List[Trained]] = {}
        self.start_s, self.peak_rss_bytes = timeout_s, 0  # of the first process of stock
        self.extra_s = 0.0  # that the runs to judge differences by took
        self.environment: Dict[str, Any] = {}

    def run_baseline(self, stock: Program) -> Trained:
        """Run one process of stock. Raises WorkerError or InputError if it fails."""
        begin, self._stock = self._clock(), stock
        self.baseline = self.train(stock)
        self.start_s = self._clock() - begin
        return self.baseline

    def train(self, program: Program, perturbed_seed: Optional[int] = None) -> Trained:
        """The first steps in a process of their own, perturbed by a rounding if a seed is given."""
        self._observe(f"first steps of {program.name}")
        worker = self._start(program, perturbed_seed)
        try:
            return self._train(worker, self._timeout_s, None)
        finally:
            _end(worker)

    def check(self, programs: Sequence[Program]) -> Dict[str, Optional[Outcome]]:
        """Why each program is not to be timed, None if it is. The first answer is kept.

        The processes start side by side and train one at a time.
        """
        workers: List[Any] = []
        new = [program for program in programs if program.name not in self._known]
        try:
            for program in new:
                workers.append(self._start(program))
            for program, worker in zip(new, workers):
                self._observe(f"parity of {program.name}")
                self._known[program.name] = self._check(program, worker)
        finally:
            for worker in workers:
                _end(worker)
        return {program.name: self._known[program.name][1] for program in programs}

    def find(self, name: str) -> Optional[Fidelity]:
        """The parity of a program; None if it trained nothing."""
        return self._known.get(name, (None, None))[0]

    def find_wait_s(self) -> float:
        """Longest wait for an answer: a program may be slow, and must not use up the budget."""
        return min(self._timeout_s, PATIENCE_S + PATIENCE * self.start_s)

    def _check(self, program: Program, worker: Any) -> Tuple[Optional[Fidelity], Optional[Outcome]]:
        stock = self.baseline
        try:
            trained = self._train(worker, self.find_wait_s(), stock.digest)
        except (WorkerError, InputError) as error:
            return None, describe_failure(error)
        fidelity, out = self._judge(trained), None
        if trained.weights is not None:
            trained.weights.unlink()
        times = trained.step_time_s / stock.step_time_s
        same = (trained.operators_digest, trained.digest) == (stock.operators_digest, stock.digest)
        if fidelity.verdict == DIFFERENT:
            out = Outcome(PARITY_FAILED, f"{fidelity.level}: {fidelity.reason}")
        elif same and program.settings and all(setting.compiles for setting in program.settings):
            out = Outcome(NO_EFFECT, "the graph compiles to the same operators as stock's")
        elif times > GROSS:
            out = Outcome(SLOWER, f"a step took {times:.1f} times as long as stock's")
        return fidelity, out

    def _judge(self, trained: Trained) -> Fidelity:
        stock = self.baseline
        if is_identical(stock, trained):
            return judge_fidelity(stock, trained)
        reference = next(iter(self._train_extra("float64", [None])), None)
        perturbed = self._extra.get("float32", [])
        fidelity = judge_fidelity(stock, trained, reference, perturbed)
        if needs_perturbed_runs(fidelity) and not perturbed:
            perturbed = self._train_extra("float32", PERTURBED_SEEDS)
            fidelity = judge_fidelity(stock, trained, reference, perturbed)
        return fidelity

    def _train_extra(self, dtype: str, seeds: Sequence[Optional[int]]) -> List[Trained]:
        """Stock's steps in eager mode, trained once; a run that fails is left out."""
        if dtype not in self._extra:
            update = {"mode": EAGER, "dtype": dtype}
            contender = self._stock.contender.model_copy(update=update)
            program = self._stock._replace(name=f"eager mode in {dtype}", contender=contender)
            begin, self._extra[dtype] = self._clock(), []
            for seed in seeds:
                try:
                    self._extra[dtype].append(self.train(program, seed))
                except (WorkerError, InputError):
                    continue
            self.extra_s += self._clock() - begin
        return self._extra[dtype]

    def _start(self, program: Program, perturbed_seed: Optional[int] = None) -> Any:
        """A worker told to prepare."""
        self._started += 1
        name = f"{program.contender.mode}-{self._started:03d}"
        worker = self._launch(program.contender.model_copy(update={"name": name}))
        about = {**self._about, "perturbed_seed": perturbed_seed}
        work, contender = program.workload.model_dump(), program.contender.model_dump()
        try:
            worker.send("prepare", workload=work, contender=contender, **about)
        except BaseException:
            _end(worker)
            raise
        return worker

    def _train(self, worker: Any, wait_s: float, expected: Optional[str]) -> Trained:
        """Compile and train; weights are written unless their digest is `expected`.

        The digests of batches are those of turns, so all processes split the steps alike: two
        alone, which also tell their time, and the rest.
        """
        prepared = worker.receive("prepare", wait_s)
        compiled = worker.ask("compile", wait_s)
        parts = [worker.ask("train", wait_s, steps=1) for _ in range(2)]
        if self._steps is None:
            wanted = round(TRAINED_S / max(parts[1]["duration_s"], 1e-9))
            self._steps = max(FEWEST_TRAINED, min(MOST_TRAINED, wanted))
        parts.append(worker.ask("train", wait_s, steps=self._steps - 2))
        self._written += 1
        path = self._folder / f"{self._written:03d}.safetensors"
        answer = worker.ask("weights", wait_s, path=str(path.absolute()), expected=expected)
        if not self.environment:
            self.environment = prepared["environment"]
            self.peak_rss_bytes = answer["peak_rss_bytes"]
        images = [part["images_digest"] for part in parts]
        return Trained(
            losses=[loss for part in parts for loss in part["losses"]],
            labels_digest="".join(part["labels_digest"] for part in parts),
            images_digest=None if None in images else "".join(images),
            digest=answer["digest"],
            weights=path if answer["written"] else None,
            operators_digest=compiled["operators_digest"],
            step_time_s=min(parts[1]["duration_s"], parts[2]["duration_s"] / (self._steps - 2)),
        )


def _end(worker: Any) -> None:
    worker.kill()
    worker.close()


def describe_failure(error: Exception) -> Outcome:
    """The outcome of a program by its worker's error."""
    kind = HUNG if isinstance(error, WorkerTimeout) else CRASHED
    if isinstance(error, InputError):
        kind = REFUSED
    reason = str(error)
    tail = getattr(error, "log_tail", "").strip().splitlines()
    if kind == CRASHED and tail:
        reason += f"; it said: {tail[-1]}"
    return Outcome(kind, reason)
