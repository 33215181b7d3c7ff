"""The log of a training: a line every few steps and every epoch, and bare lists of numbers.

`train.log` has the lines. `losses.txt` has the loss of each step and `accuracy.txt` the validation
accuracy of each epoch, from 0 to 1, one number a line. With several contenders these two are
`losses-NAME.txt` and `accuracy-NAME.txt`. All grow while the training runs.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, List, Literal, Optional, TextIO

from ..config import STEP_DATA
from ..record.events import BlockEvent, EvalEvent, RecordEvent, ScoreEvent, SetupEvent
from ..record.run import Document
from ..record.side import find_best

# of a line: it says how the training stands, it is one of every few steps, or it should stay
Kind = Literal["status", "step", "epoch"]
Tell = Callable[[str, Kind], None]
LOG_NAME = "train.log"
MOST_SILENT_S = 30.0
NO_BEST = "no best epoch, because validation gave no finite loss and no accuracy"


def _format_accuracy(accuracy: Optional[float]) -> str:
    return "accuracy not finite" if accuracy is None else f"accuracy {100 * accuracy:.2f} %"


class TrainingLog:
    """Writes the files in `folder`, which exists, and tells the lines."""

    def __init__(
        self,
        folder: Path,
        document: Document,
        tell: Tell,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._folder, self._document, self._tell, self._clock = folder, document, tell, clock
        self._files: Dict[str, TextIO] = {}
        self._stack = ExitStack()
        self._steps: Dict[str, int] = {}  # done in this run, by contender
        self._since: Dict[str, List[float]] = {}  # losses since the contender's last line
        self._told_s: Dict[str, float] = {}
        self._start_s: Optional[float] = None  # of the first block
        self._evals: Dict[str, List[EvalEvent]] = {}  # by contender, of each epoch of this run

    def find_best(self, name: str) -> Optional[EvalEvent]:
        """The validation of a contender's best weights."""
        return find_best(self._evals[name])

    def name_checkpoint(self, name: str, epoch: int) -> str:
        """The file of a contender's weights after an epoch from 0, with their accuracy if known."""
        accuracy = self._evals[name][-1].accuracy
        known = "" if accuracy is None else f"-accuracy-{accuracy:.4f}"
        return f"epoch-{epoch + 1:03d}{known}.safetensors"

    def add(self, event: RecordEvent) -> None:
        """Take an event of the training as it is recorded."""
        if isinstance(event, SetupEvent):
            self._write_setup(event)
        elif isinstance(event, BlockEvent):
            self._write_block(event)
        elif isinstance(event, EvalEvent):
            self._write_epoch(event)
        elif isinstance(event, ScoreEvent):
            accuracy = _format_accuracy(event.accuracy)
            self._write(f"{event.contender}: {event.subject} {accuracy} of {event.samples} images")

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def _write_setup(self, event: SetupEvent) -> None:
        compile_s = event.compile_train_s + event.compile_eval_s
        self._start_s = self._told_s[event.contender] = self._clock()
        self._write(
            f"{event.contender}: {event.num_params:,} parameters; import {event.import_s:.1f} s, "
            f"build {event.build_s:.1f} s, compile {compile_s:.1f} s"
        )

    def _write_block(self, event: BlockEvent) -> None:
        name, every = event.contender, self._document.measuring.log_every
        losses = [math.nan if loss is None else loss for loss in event.losses]
        self._append("losses", name, losses)
        before = self._steps.get(name, 0)
        self._steps[name] = before + event.steps
        is_silent = self._clock() - self._told_s.get(name, 0.0) > MOST_SILENT_S
        for at, loss in enumerate(losses):
            since = self._since.setdefault(name, [])
            since.append(loss)
            is_last = at == event.steps - 1
            is_due = (before + at + 1) % every == 0 or (is_last and is_silent)
            if is_due or is_last:
                self._write(self._describe_step(event, at), "step" if is_due else "status")
            if is_due:
                since.clear()
                self._told_s[name] = self._clock()

    def _describe_step(self, event: BlockEvent, at: int) -> str:
        name, document = event.contender, self._document
        since = self._since[name]
        done = event.first_step + at + 1 - event.epoch * document.steps_per_epoch
        rate = document.workload.batch_size * event.steps / max(event.duration_s, 1e-9)
        parts = [
            f"epoch {event.epoch + 1}/{document.workload.epochs}",
            f"step {done}/{document.steps_per_epoch}",
            f"loss {sum(since) / len(since):.4f}",
            f"lr {event.lr[at]:.4g}",
            f"{rate:,.1f} steps/s"
            if document.workload.data == STEP_DATA
            else f"{rate:,.0f} images/s",
            *self._describe_accuracy(name),
            *self._describe_time_left(),
        ]
        return f"{name}: {', '.join(parts)}"

    def _describe_accuracy(self, name: str) -> List[str]:
        evals = self._evals.get(name)
        if not evals:
            return []
        best = self.find_best(name)
        shown = [_format_accuracy(evals[-1].accuracy)] if evals[-1].has_accuracy else []
        if best is None:
            return shown
        if best.accuracy is None:
            return [*shown, f"lowest validation loss in epoch {best.epoch + 1}"]
        return [*shown, f"best {100 * best.accuracy:.2f} % (epoch {best.epoch + 1})"]

    def _describe_time_left(self) -> List[str]:
        document, done = self._document, sum(self._steps.values())
        epochs = document.workload.epochs - document.start_epoch
        total = epochs * document.steps_per_epoch * len(document.contenders)
        if self._start_s is None or not done:
            return []
        left_s = round((self._clock() - self._start_s) * (total - done) / done)
        minutes, seconds = divmod(left_s, 60)
        return [f"{minutes}:{seconds:02d} left"]

    def _write_epoch(self, event: EvalEvent) -> None:
        name = event.contender
        self._evals.setdefault(name, []).append(event)
        if event.has_accuracy:
            self._append("accuracy", name, [math.nan if event.accuracy is None else event.accuracy])
        loss = math.nan if event.loss is None else event.loss
        # a step of one's own may evaluate other numbers
        is_unknown = event.loss is None and self._document.workload.data == STEP_DATA
        parts = [
            f"epoch {event.epoch + 1}/{self._document.workload.epochs} validated",
            *([] if is_unknown else [f"loss {loss:.4f}"]),
            *self._describe_accuracy(name),
            *([NO_BEST] if self.find_best(name) is None else []),
            *self._describe_time_left(),
        ]
        self._write(f"{name}: {', '.join(parts)}")

    def _append(self, kind: str, name: str, values: List[float]) -> None:
        several = len(self._document.contenders) > 1
        self._open(f"{kind}-{name}.txt" if several else f"{kind}.txt").writelines(
            f"{value!r}\n" for value in values
        )

    def _write(self, line: str, kind: Kind = "epoch") -> None:
        if kind != "status":
            self._open(LOG_NAME).write(f"{time.strftime('%H:%M:%S')} {line}\n")
        self._tell(line, kind)

    def _open(self, file: str) -> Any:
        if file not in self._files:
            stream = open(self._folder / file, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
            self._files[file] = self._stack.enter_context(stream)
        return self._files[file]
