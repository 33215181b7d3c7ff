"""Runs contenders in turns and records what they measure.

The whole run can be read in `Runner.run`: start, first step, then epoch by epoch the blocks of
train steps, the validation pass and the comparison of the weights.
"""

from __future__ import annotations

import shutil
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple, Type

from ..config import Contender, Measuring, Workload
from ..errors import BenchError, InputError, Interrupted, WorkerError
from ..plan.resolve import is_unavailable
from ..record.checkpoint import LAST_NAME, training_path
from ..record.events import (
    BlockEvent,
    Ended,
    EndEvent,
    EvalEvent,
    SetupEvent,
    TrainedBlock,
    Validated,
)
from ..record.machine import describe_load
from ..record.run import RecordWriter
from ..record.weight_difference import compare_weights
from ..worker import messages
from ..worker.messages import (
    NOTHING,
    Answer,
    Launcher,
    Request,
    Saved,
    SaveRequest,
    Setup,
    StepsRequest,
    Worker,
    create_prepare_request,
)
from .order import WARMUP_STEPS, choose_block_steps, generate_orders, split_steps

CHECKPOINTS = "checkpoints"
BEST_NAME = "best.safetensors"
INITIAL_WEIGHTS = "initial.safetensors"  # of the baseline, in the run's folder while they are read

# (what is going on, steps done by all contenders, steps to do)
Observer = Callable[[str, int, int], None]


class Runner:
    """One run: contenders, a record that is written to, and a way to start workers."""

    def __init__(
        self,
        writer: RecordWriter,
        launch: Launcher,
        dataset: Optional[Path] = None,
        observe: Observer = lambda message, done, total: None,
        clock: Callable[[], float] = time.perf_counter,
        afterwards: Callable[[], None] = lambda: None,
    ) -> None:
        """`afterwards` runs when the training is done and its workers have ended."""
        document = writer.document
        self._writer = writer
        self._launch = launch
        self._dataset = None if dataset is None else str(dataset)
        self._observe = observe
        self._clock = clock
        self._afterwards = afterwards
        self._workload: Workload = document.workload
        self._measuring: Measuring = document.measuring
        self._contenders: List[Contender] = document.contenders
        self._steps_per_epoch = document.steps_per_epoch
        self._first_epoch = document.start_epoch
        self._workers: Dict[str, Worker] = {}
        self._orders = generate_orders([c.name for c in self._contenders], self._workload.seed)
        self._block = 0
        self._turn = 0
        self._done = 0
        self._step_time_s: Optional[float] = None
        self._best_accuracy: Dict[str, float] = {}
        self._best_epoch: Dict[str, int] = {}
        self._start = clock()

    def run(self) -> None:
        """Run to the end. The record is closed and true whatever happens on the way."""
        document = self._writer.document
        try:
            self._setup()
            for epoch in range(self._first_epoch, self._workload.epochs):
                for kind, steps in self._plan_epoch(epoch):
                    self._train_block(epoch, kind, steps)
                self._evaluate(epoch)
                self._keep_weights(epoch)
            for name, worker in self._workers.items():
                ended = self._ask(worker, "end", Ended)
                self._writer.append(EndEvent(contender=name, **dict(ended)))
            self._kill_workers(gently=True)
            self._afterwards()
            document.status = "complete"
        except KeyboardInterrupt:
            self._kill_workers()
            document.status, document.error = "interrupted", "ended by the user"
            raise Interrupted(
                f"ended by the user; what was measured is in {self._writer.folder}"
            ) from None
        except BenchError as error:
            document.status, document.error = "failed", str(error)
            raise
        except OSError as error:
            document.status, document.error = "failed", str(error)
            raise WorkerError(f"the run could not go on: {error}") from error
        finally:
            self._kill_workers(gently=document.status == "complete")
            document.environment_end = describe_load()
            document.finished = datetime.now(timezone.utc).isoformat(timespec="seconds")
            self._writer.close()

    def _setup(self) -> None:
        by_name = {c.name: c for c in self._contenders}
        order = next(self._orders)
        baseline, weights = self._contenders[0].name, None
        if self._needs_shared_weights():
            order = [baseline, *(name for name in order if name != baseline)]
            weights = (self._writer.folder / INITIAL_WEIGHTS).resolve()
        for name in order:
            self._show(f"{name}: start, build, compile")
            worker = self._workers[name] = self._launch(by_name[name])
            given = None if weights is None or name == baseline else str(weights)
            try:
                request = create_prepare_request(
                    self._workload, by_name[name], self._steps_per_epoch, self._dataset, given
                )
                ready = self._ask(worker, "setup", Setup, request)
            except InputError as error:
                if not is_unavailable(by_name[name], error):
                    raise
                self._leave_out(name, error)
                continue
            drawn_by = None if given is None else baseline
            self._writer.append(SetupEvent(contender=name, initial_weights=drawn_by, **dict(ready)))
            if weights is not None and name == baseline:
                self._ask(worker, "save", Saved, SaveRequest(path=str(weights)))
        if weights is not None:
            weights.unlink()

    def _leave_out(self, name: str, error: InputError) -> None:
        """Go on without a contender that cannot be had; raises `error` where nothing would be left.

        The baseline cannot be left out, nor the only contender that is set against it.
        """
        document = self._writer.document
        left = [c for c in self._contenders if c.name != name]
        racing = [c for c in left if not c.reference]
        if name == self._contenders[0].name or len(racing) < 2:
            raise error
        worker = self._workers.pop(name)
        worker.kill()
        worker.close()
        self._contenders = document.contenders = left
        document.unavailable[name] = str(error)
        self._orders = generate_orders([c.name for c in left], self._workload.seed)
        self._writer.save()

    def _needs_shared_weights(self) -> bool:
        """Whether the weights are drawn by more than one OneFlow, which draw differently."""
        drawn = self._workload.load_checkpoint is None and self._workload.resume is None
        return drawn and len({contender.python for contender in self._contenders}) > 1

    def _plan_epoch(self, epoch: int) -> Iterator[Tuple[str, int]]:
        """(kind, steps) of the blocks of an epoch; the run's first begins with the warm-up."""
        steps = self._steps_per_epoch
        if epoch == self._first_epoch:
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
        slowest = 0.0
        for name in next(self._orders):
            self._show(f"epoch {epoch + 1}/{self._workload.epochs}, {name}")
            started = self._clock() - self._start
            request = StepsRequest(steps=steps)
            block = self._ask(self._workers[name], "train", TrainedBlock, request)
            slowest = max(slowest, block.duration_s / steps)
            self._done += steps
            self._writer.append(
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

    def _evaluate(self, epoch: int) -> None:
        for name in next(self._orders):
            self._show(f"epoch {epoch + 1}/{self._workload.epochs}, {name}: validation")
            validated = self._ask(self._workers[name], "eval", Validated)
            event = EvalEvent(contender=name, epoch=epoch, **dict(validated))
            self._writer.append(event)
            if event.accuracy > self._best_accuracy.get(name, -1.0):
                self._best_accuracy[name] = event.accuracy
                self._best_epoch[name] = epoch

    def _keep_weights(self, epoch: int) -> None:
        """Save every contender's weights, compare them, and keep them if that was asked for."""
        if len(self._contenders) < 2 and not self._measuring.keep_checkpoints:
            return
        folder = self._writer.folder / CHECKPOINTS
        paths: Dict[str, Path] = {}
        digests: Dict[str, str] = {}
        for contender in self._contenders:
            name = contender.name
            paths[name] = folder / name / f"epoch-{epoch + 1:03d}.safetensors"
            request = SaveRequest(
                path=str(paths[name].resolve()),
                training=self._measuring.keep_checkpoints,
                epoch=epoch + 1,
            )
            digests[name] = self._ask(self._workers[name], "save", Saved, request).digest
        baseline = self._contenders[0].name
        for contender in self._contenders[1:]:
            self._writer.append(
                compare_weights(
                    epoch, baseline, contender.name, paths[baseline], paths[contender.name], digests
                )
            )
        if self._measuring.keep_checkpoints:
            for name, path in paths.items():
                _copy_checkpoint(path, LAST_NAME)
                if self._best_epoch[name] == epoch:
                    _copy_checkpoint(path, BEST_NAME)
        else:
            shutil.rmtree(folder)

    def _ask(
        self, worker: Worker, call: str, answer: Type[Answer], request: Request = NOTHING
    ) -> Answer:
        return messages.ask(worker, call, self._measuring.timeout_s, answer, request)

    def _show(self, message: str) -> None:
        epochs = self._workload.epochs - self._first_epoch
        total = epochs * self._steps_per_epoch * len(self._contenders)
        self._observe(message, self._done, total)

    def _kill_workers(self, gently: bool = False) -> None:
        for worker in self._workers.values():
            if not gently:
                worker.kill()
            worker.close()
        self._workers = {}


def _copy_checkpoint(path: Path, name: str) -> None:
    """Copy weights and training state beside themselves under another name."""
    copy = path.with_name(name)
    shutil.copyfile(path, copy)
    shutil.copyfile(training_path(path), training_path(copy))
