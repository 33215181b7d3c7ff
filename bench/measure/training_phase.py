"""Runs contenders in turns and records what they measure.

The whole run can be read in `Runner.run`: start, first step, then epoch by epoch the blocks of
train steps, the validation pass and the comparison of the weights.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from ..config import STEP_DATA
from ..errors import InputError
from ..plan.resolve import is_unavailable
from ..record.checkpoint import copy_checkpoint, have_equal_optimizers, keep_checkpoints
from ..record.events import (
    BlockEvent,
    CheckpointEvent,
    Ended,
    EndEvent,
    EvalEvent,
    ParametersEvent,
    RecordEvent,
    ScoreEvent,
    SetupEvent,
    StepParametersEvent,
    Subject,
    TrainedBlock,
    Validated,
)
from ..record.run import RecordWriter
from ..record.weight_difference import compare_weights
from ..worker.messages import EvalRequest, Launcher, Saved, SaveRequest, Setup, StepsRequest
from .order import WARMUP_STEPS, Observer, Workers, choose_block_steps, generate_orders, split_steps
from .training_log import Tell, TrainingLog

CHECKPOINTS = "checkpoints"
STEP_WEIGHTS = "step-weights"  # a folder, while they are compared
INITIAL_WEIGHTS = "initial.safetensors"  # of the baseline, in the run's folder while they are read
# in the run's folder while it runs: by contender, the last state with the baseline's bits
EQUAL_STATES, EQUAL_STATE = "equal-states", "state.safetensors"


class Runner:
    """One run: contenders, a record that is written to, and a way to start workers."""

    def __init__(
        self,
        writer: RecordWriter,
        launch: Launcher,
        dataset: Optional[Path] = None,
        observe: Observer = lambda message, done, total: None,
        clock: Callable[[], float] = time.perf_counter,
        keep_equal_states: bool = False,
        tell: Tell = lambda line, kind: None,
    ) -> None:
        """`keep_equal_states`: in EQUAL_STATES, for the parity phase."""
        document = writer.document
        self._writer, self._document = writer, document
        self._workers: Workers[str] = Workers(document, launch, dataset)
        self._observe, self._clock, self._start = observe, clock, clock()
        self._workload, self._measuring = document.workload, document.measuring
        self._steps_per_epoch = document.steps_per_epoch
        self._orders = self._generate_orders()
        self._block = self._turn = self._done = self._last_step = 0
        self._step_time_s: Optional[float] = None
        baseline, *others = document.contenders
        alone = keep_equal_states and baseline.ranks == 1 and document.start_epoch == 0
        # contenders whose losses and states have had the baseline's bits until now
        self._equal = [one.name for one in others if alone and one.ranks == 1]
        self._every_step = self._measuring.parameter_difference == "every-step"
        self._log = TrainingLog(writer.folder, document, tell, clock)

    def _generate_orders(self) -> Iterator[List[str]]:
        return generate_orders([c.name for c in self._document.contenders], self._workload.seed)

    def run(self) -> None:
        """Train to the end. No worker is left, whatever happens on the way."""
        try:
            self._setup()
            for epoch in range(self._document.start_epoch, self._workload.epochs):
                for kind, steps in self._plan_epoch(epoch):
                    self._train_block(epoch, kind, steps)
                    if self._every_step:
                        self._compare_step()
                self._evaluate(epoch)
                self._keep_weights(epoch)
            self._score()
            for name in self._workers.keys:
                ended = self._workers.ask(name, "end", Ended)
                self._writer.append(EndEvent(contender=name, **dict(ended)))
            self._workers.close(gently=True)
        finally:
            self._workers.close()
            self._log.close()

    def _append(self, event: RecordEvent) -> None:
        self._writer.append(event)
        self._log.add(event)

    def _setup(self) -> None:
        by_name = {c.name: c for c in self._document.contenders}
        order = next(self._orders)
        baseline, weights = self._document.contenders[0].name, None
        if self._needs_shared_weights():
            order = [baseline, *(name for name in order if name != baseline)]
            weights = (self._writer.folder / INITIAL_WEIGHTS).resolve()
        for name in order:
            self._show(f"{name}: start, build, compile")
            self._workers.launch(name, by_name[name])
            given = None if weights is None or name == baseline else str(weights)
            try:
                request = self._workers.describe(by_name[name], given)
                ready = self._workers.ask(name, "setup", Setup, request)
            except InputError as error:
                if not is_unavailable(by_name[name], error):
                    raise
                self._leave_out(name, error)
                continue
            drawn_by = None if given is None else baseline
            self._append(SetupEvent(contender=name, initial_weights=drawn_by, **dict(ready)))
            if weights is not None and name == baseline:
                self._workers.ask(name, "save", Saved, SaveRequest(path=str(weights)))
        if weights is not None:
            weights.unlink()

    def _leave_out(self, name: str, error: InputError) -> None:
        """Go on without a contender that cannot be had; raises `error` where nothing would be left.

        The baseline cannot be left out, nor the only contender that is set against it.
        """
        document = self._document
        left = [c for c in document.contenders if c.name != name]
        racing = [c for c in left if not c.reference]
        if name == document.contenders[0].name or len(racing) < 2:
            raise error
        self._workers.close(keys=[name])
        document.contenders = left
        document.unavailable[name] = str(error)
        self._orders = self._generate_orders()
        self._writer.save()

    def _needs_shared_weights(self) -> bool:
        """Whether the weights are drawn by more than one OneFlow, which draw differently."""
        drawn = self._workload.load_checkpoint is None and self._workload.resume is None
        return drawn and len({contender.python for contender in self._document.contenders}) > 1

    def _plan_epoch(self, epoch: int) -> Iterator[Tuple[str, int]]:
        """(kind, steps) of the blocks of an epoch; the run's first begins with the warm-up."""
        steps = self._steps_per_epoch
        if self._every_step:
            is_first = epoch == self._document.start_epoch
            warm = 1 + WARMUP_STEPS if is_first else 0
            for step in range(steps):
                yield "first" if is_first and not step else "warmup" if step < warm else "steady", 1
            return
        if epoch == self._document.start_epoch:
            yield "first", 1
            warmup = min(WARMUP_STEPS, steps - 1)
            if warmup:
                yield "warmup", warmup
            steps -= 1 + warmup
        length = choose_block_steps(
            self._step_time_s or 1.0,
            self._measuring.block_target_s,
            self._steps_per_epoch,
            self._measuring.block_steps,
        )
        for block_steps in split_steps(steps, length):
            yield "steady", block_steps

    def _train_block(self, epoch: int, kind: str, steps: int) -> None:
        slowest, losses = 0.0, {}
        for name in next(self._orders):
            self._show(f"epoch {epoch + 1}/{self._workload.epochs}, {name}")
            started = self._clock() - self._start
            block = self._workers.ask(name, "train", TrainedBlock, StepsRequest(steps=steps))
            slowest = max(slowest, block.duration_s / steps)
            self._done += steps
            losses[name] = block.losses
            self._last_step = block.first_step + steps - 1
            self._append(
                BlockEvent(
                    contender=name,
                    epoch=epoch,
                    block=self._block,
                    turn=self._turn,
                    kind=kind,
                    steps=steps,
                    started_s=started,
                    **dict(block),
                )
            )
            self._turn += 1
        self._block += 1
        self._step_time_s = slowest
        expected = losses[self._document.contenders[0].name]
        self._equal = [name for name in self._equal if losses.get(name) == expected]

    def _evaluate(self, epoch: int) -> None:
        for name in next(self._orders):
            self._show(f"epoch {epoch + 1}/{self._workload.epochs}, {name}: validation")
            validated = self._workers.ask(name, "eval", Validated, EvalRequest())
            self._append(EvalEvent(contender=name, epoch=epoch, **dict(validated)))

    def _score(self) -> None:
        """The accuracy on training images, and of a teacher, of what runs in one process."""
        if self._workload.data == STEP_DATA:
            return  # it has batches of its own, and no images
        subjects: List[Subject] = ["train"]
        if self._workload.teacher is not None:
            subjects.append("teacher")
        for one in self._document.contenders:
            for subject in subjects if one.ranks == 1 else []:
                self._show(f"{one.name}: accuracy of {subject}")
                request = EvalRequest(subject=subject)
                found = self._workers.ask(one.name, "eval", Validated, request)
                self._append(ScoreEvent(contender=one.name, subject=subject, **dict(found)))

    def _compare_step(self) -> None:
        """Compare every contender's weights with the baseline's after a step."""
        baseline, *others = [contender.name for contender in self._document.contenders]
        folder = self._writer.folder / STEP_WEIGHTS
        paths: Dict[str, Path] = {}
        digests: Dict[str, str] = {}
        for name in (baseline, *others):
            paths[name] = folder / f"{name}.safetensors"
            request = SaveRequest(path=str(paths[name].resolve()))
            digests[name] = self._workers.ask(name, "save", Saved, request).digest
        for name in others:
            found = compare_weights(baseline, name, paths[baseline], paths[name], digests)
            self._writer.append(StepParametersEvent(step=self._last_step, **dict(found)))
        shutil.rmtree(folder)

    def _keep_weights(self, epoch: int) -> None:
        """Save every contender's weights, compare them, and keep them if that was asked for."""
        baseline, *others = [contender.name for contender in self._document.contenders]
        rule = self._measuring.keep_checkpoints
        keep = rule != "none"
        if not others and not keep:
            return
        folder = self._writer.folder / CHECKPOINTS
        paths: Dict[str, Path] = {}
        digests: Dict[str, str] = {}
        for name in (baseline, *others):
            path = paths[name] = folder / name / self._log.name_checkpoint(name, epoch)
            training = keep or name in self._equal or bool(name == baseline and self._equal)
            request = SaveRequest(path=str(path.resolve()), training=training, epoch=epoch + 1)
            digests[name] = self._workers.ask(name, "save", Saved, request).digest
        for name in others:
            pair = paths[baseline], paths[name]
            found = compare_weights(baseline, name, *pair, digests)
            self._writer.append(ParametersEvent(epoch=epoch, **dict(found)))
            if name in self._equal and found.max_abs == 0 and have_equal_optimizers(*pair):
                kept = self._writer.folder / EQUAL_STATES / name / EQUAL_STATE
                copy_checkpoint(paths[baseline], kept)
            elif name in self._equal:
                self._equal.remove(name)
        if not keep:
            shutil.rmtree(folder)
            return
        for name, path in paths.items():
            self._writer.append(CheckpointEvent(contender=name, epoch=epoch, digest=digests[name]))
            best = self._log.find_best(name)
            keep_checkpoints(path, rule, epoch, None if best is None else best.epoch)

    def _show(self, message: str) -> None:
        epochs = self._workload.epochs - self._document.start_epoch
        total = epochs * self._steps_per_epoch * len(self._document.contenders)
        self._observe(message, self._done, total)
