"""TensorBoard event files, a folder for each contender: loss, learning rate, step time, accuracy.

Written by tensorboardX, which is an extra: `pip install 'oneflow-bench[tensorboard]'`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Iterator, NamedTuple, Optional, Sequence

from ...errors import InputError
from ...record.events import EvalEvent
from .selection import Selected, step_time_s

EXTRA = "tensorboard"


class Point(NamedTuple):
    """A value of a curve; `step` counts updates, `time_s` is since the run's start."""

    tag: str
    value: Optional[float]
    step: int
    time_s: float


def write_folder(selected: Sequence[Selected], folder: Path) -> None:
    """Write the event files below `folder`, which exists and is empty.

    Raises InputError naming the extra where tensorboardX is not installed.
    """
    try:
        from tensorboardX import FileWriter
        from tensorboardX.summary import scalar
    except ImportError:
        raise InputError(
            "--format tensorboard needs tensorboardX, which is not installed; "
            f"run pip install 'oneflow-bench[{EXTRA}]'"
        ) from None
    for one in selected:
        start = datetime.fromisoformat(one.record.document.created).timestamp()
        target = folder.joinpath(*(part for part in (one.run, one.contender.name) if part))
        writer = FileWriter(str(target))
        try:
            for point in list_points(one):
                value = float("nan") if point.value is None else point.value
                writer.add_summary(scalar(point.tag, value), point.step, start + point.time_s)
        finally:
            writer.close()


def list_points(selected: Selected) -> Iterator[Point]:
    """The curves of a contender in the order measured.

    A loss stands at the number of updates done before it; what is said of a block or of a
    validation pass, at the number done after it.
    """
    evals = {e.epoch: e for e in selected.record.of_kind(EvalEvent, selected.contender.name)}
    blocks = selected.blocks()
    for index, block in enumerate(blocks):
        for offset, (loss, lr) in enumerate(zip(block.losses, block.lr)):
            at = block.started_s + step_time_s(block) * (offset + 1)
            yield Point("train/loss", loss, block.first_step + offset, at)
            yield Point("train/lr", lr, block.first_step + offset, at)
        step, end = block.first_step + block.steps, block.started_s + block.duration_s
        yield Point("train/step_time_s", step_time_s(block), step, end)
        last = index + 1 == len(blocks) or blocks[index + 1].epoch != block.epoch
        if last and block.epoch in evals:
            passed = evals[block.epoch]
            yield Point("validation/accuracy", passed.accuracy, step, end + passed.duration_s)
            yield Point("validation/loss", passed.loss, step, end + passed.duration_s)
