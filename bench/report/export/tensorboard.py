"""TensorBoard event files, a folder for each contender: loss, learning rate, step time, accuracy.

Written by tensorboardX, which is an extra: `pip install 'oneflow-bench[tensorboard]'`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from ...errors import InputError
from ..curves import thin_line
from .selection import Selected

EXTRA = "tensorboard"


class Point(NamedTuple):
    """A value of a curve; `step` counts updates, `time_s` is since the run's start."""

    value: float  # NaN where not finite
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
        target = folder.joinpath(*(part for part in (one.run, one.name) if part))
        writer = FileWriter(str(target))
        try:
            for tag, points in list_curves(one).items():
                for point in points:
                    writer.add_summary(scalar(tag, point.value), point.step, start + point.time_s)
        finally:
            writer.close()


def list_curves(selected: Selected) -> Dict[str, List[Point]]:
    """The curves of a contender by their tags, each in the order measured.

    A loss stands at the number of updates done before it; what is said of a block or of a
    validation pass, at the number done after it. A long curve has the smallest and the largest
    value of each of `curves.COLUMNS` columns; TensorBoard shows no more.
    """
    evals, blocks = {e.epoch: e for e in selected.evals}, selected.blocks
    if not blocks:
        return {}
    times, steps, passed = [], [], []
    for block, following in zip(blocks, [*blocks[1:], None]):
        count = np.arange(len(block.losses))
        steps.append(block.first_step + count)
        times.append(block.started_s + block.step_time_s * (count + 1))
        last = following is None or following.epoch != block.epoch
        if last and block.epoch in evals:
            done = evals[block.epoch]
            end = block.started_s + block.duration_s + done.duration_s
            passed.append((done, block.first_step + block.steps, end))
    ends = [(b.first_step + b.steps, b.started_s + b.duration_s) for b in blocks]
    at = [_join(steps), _join(times)]
    return {
        "train/loss": _thin(_join([block.losses for block in blocks]), *at),
        "train/lr": _thin(_join([block.lr for block in blocks]), *at),
        "train/step_time_s": _thin(_join([[b.step_time_s for b in blocks]]), *_join([ends]).T),
        "validation/accuracy": [
            Point(done.accuracy, step, end)
            for done, step, end in passed
            if done.accuracy is not None
        ],
        "validation/loss": [
            Point(float("nan") if done.loss is None else done.loss, step, end)
            for done, step, end in passed
        ],
    }


def _join(parts: Sequence[Any]) -> np.ndarray:
    """None becomes NaN."""
    return np.concatenate([np.array(part, dtype=float) for part in parts])


def _thin(values: np.ndarray, steps: np.ndarray, times_s: np.ndarray) -> List[Point]:
    kept, values = thin_line(np.arange(len(values)), values)
    return [
        Point(v, int(s), t)
        for v, s, t in zip(*(x.tolist() for x in (values, steps[kept], times_s[kept])))
    ]
