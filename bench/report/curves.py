"""The curves that pictures and exports show: thinned to a screen, and told apart without colour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Dict, List, Optional, Tuple

import numpy as np

from ..config import LOSS_ARGUMENTS, STEP_DATA
from ..record.events import BlockEvent
from ..record.run import RunRecord
from ..record.side import Side

COLUMNS = 1000  # of a line: the pixels of a picture
CELLS = (120, 60)  # of marks, across and up
CHUNK = 2**16  # marks looked at together
# Curves that lie on each other must both be seen: broad and light below, thin and dark above.
# (colour, line width, line, mark, size of the mark)
_STYLES: List[Tuple[str, float, Any, str, int]] = [
    ("#f0a030", 5.0, "-", "o", 9),
    ("#103060", 1.4, "--", "x", 6),
    ("#308040", 1.4, ":", "s", 5),
    ("#a02060", 1.4, "-.", "^", 5),
    ("#707070", 1.4, (0, (6, 1)), "D", 4),
    ("#00a0a0", 1.4, (0, (1, 3)), "v", 5),
    ("#c05000", 1.4, (2, (4, 4)), "+", 6),
    ("#5050d0", 1.4, (4, (8, 4)), "*", 5),
]


@dataclass(frozen=True)
class Series(Side):
    """One contender of one record, with the name it is drawn under."""

    SLOW: ClassVar[float] = 1.2  # times the median step time of the contender

    label: str

    @cached_property
    def slow_blocks(self) -> List[BlockEvent]:
        """The steady blocks whose step took over SLOW times the median of them all."""
        times = [block.step_time_s for block in self.steady_blocks]
        limit = self.SLOW * float(np.median(times)) if times else 0.0
        return [block for block, time in zip(self.steady_blocks, times) if time > limit]

    @cached_property
    def steps(self) -> np.ndarray:
        """Of the losses; a resumed run begins at the step where the run before it ended."""
        ranges = [
            np.arange(b.first_step, b.first_step + len(b.losses), dtype=np.int32)
            for b in self.blocks
        ]
        return np.concatenate([np.zeros(0, dtype=np.int32), *ranges])

    @cached_property
    def losses(self) -> np.ndarray:
        """NaN where not finite."""
        values = np.empty(len(self.steps))
        at = 0
        for block in self.blocks:  # an array a block would be as much memory again
            values[at : at + len(block.losses)] = block.losses
            at += len(block.losses)
        return values

    @cached_property
    def accuracies(self) -> Dict[int, float]:
        """Of the validation split, from 0 to 1, by epoch from 1; NaN where not finite."""
        return {
            e.epoch + 1: math.nan if e.accuracy is None else e.accuracy
            for e in self.evals
            if e.has_accuracy
        }

    @cached_property
    def train_epoch_times_s(self) -> Dict[int, float]:
        """The seconds of all train steps of an epoch, by epoch from 1."""
        times: Dict[int, float] = {}
        for block in self.blocks:
            times[block.epoch + 1] = times.get(block.epoch + 1, 0.0) + block.duration_s
        return times

    @cached_property
    def eval_epoch_times_s(self) -> Dict[int, float]:
        """The seconds of a validation pass, by epoch from 1."""
        return {e.epoch + 1: e.duration_s for e in self.evals}

    @property
    def infinite_steps(self) -> np.ndarray:
        """Those whose loss is infinite or not a number."""
        return np.asarray(self.steps[~np.isfinite(self.losses)])

    @property
    def unit(self) -> str:
        """Of the losses, for a label: the suite's own are cross entropies, in nats."""
        work = self.record.document.workload
        return " (nats)" if work.data != STEP_DATA and work.loss in LOSS_ARGUMENTS else ""

    def find_reference(self, series: List[Series]) -> Optional[Series]:
        """The other side of a loss difference; None for the first contender of a run of several."""
        own = [other for other in series if other.record is self.record]
        if len(own) == 1:
            return series[0]
        return None if own[0].name == self.name else own[0]

    def subtract(self, reference: Series) -> Tuple[np.ndarray, np.ndarray]:
        """The common steps, and the absolute differences of their losses."""
        if np.array_equal(self.steps, reference.steps):
            sizes = reference.losses - self.losses
            return self.steps, np.abs(sizes, out=sizes)
        common, left, right = np.intersect1d(reference.steps, self.steps, True, return_indices=True)
        return common, np.abs(reference.losses[left] - self.losses[right])


def thin_line(x: np.ndarray, y: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The smallest and the largest value of each of COLUMNS columns: a screen shows the same line.

    Values that are not finite break the line, so a column keeps its first one. Short lines are
    returned as they are.
    """
    if len(x) <= 2 * COLUMNS:
        return x, y
    ends = np.linspace(0, len(y), COLUMNS + 1).astype(int)
    kept = set()
    for start, part in zip(ends, np.split(y, ends[1:-1])):
        finite = np.flatnonzero(np.isfinite(part))
        if len(finite):
            kept |= {start + finite[part[finite].argmin()], start + finite[part[finite].argmax()]}
        if len(finite) < len(part):
            kept.add(start + np.isfinite(part).argmin())
    chosen = sorted(kept)
    return x[chosen], y[chosen]


def thin_marks(x: np.ndarray, y: np.ndarray, log: bool) -> Tuple[np.ndarray, np.ndarray]:
    """One of the marks in each cell of a grid; a cell is smaller than a mark.

    `log` says that the y axis has a log scale. Few marks are returned as they are.
    """
    if len(x) <= 2 * COLUMNS:
        return x, y
    scale = np.log if log else np.asarray
    axes = []
    for values, cells, to in ((x, CELLS[0], np.asarray), (y, CELLS[1], scale)):
        low, high = (float(to(end)) for end in (values.min(), values.max()))
        axes.append((values, to, low, cells / ((high - low) or 1.0)))
    seen: Dict[int, int] = {}  # cell -> its first mark
    for start in range(0, len(x), CHUNK):
        columns, rows = (
            ((to(values[start : start + CHUNK]) - low) * factor).astype(int)
            for values, to, low, factor in axes
        )
        grid, first = np.unique(columns * (CELLS[1] + 1) + rows, return_index=True)
        for cell, place in zip(grid.tolist(), first.tolist()):
            seen.setdefault(cell, start + place)
    kept = sorted(seen.values())
    return x[kept], y[kept]


def list_series(records: List[RunRecord]) -> List[Series]:
    """All contenders of all records; with several records a label names the run's folder too."""
    runs = [r.folder.name if r.folder else r.document.run_id for r in records]
    return [
        Series(record, name, f"{run}: {name}" if len(records) > 1 else name)
        for run, record in zip(runs, records)
        for name in record.contender_names()
    ]


def describe_runs(series: List[Series]) -> List[str]:
    """The work, the status, the contenders and the machine of each run, a line each."""
    lines = []
    for document in {id(one.record): one.record.document for one in series}.values():
        cpu, job = document.environment_start.get("cpu", {}), document.workload
        size = f" on {Path(job.data).name}, batch size {job.batch_size}, {job.image_size} px"
        lines += [
            job.model + size * (job.data != STEP_DATA),
            f"run: {document.run_id}",
            f"status: {document.status}",
            "contenders, with mode and runtime:",
            *(f"    {c.name}: {c.mode}, {Path(c.runtime).name}" for c in document.contenders),
            f"{job.epochs} epochs of {document.steps_per_epoch} steps, seed {job.seed}",
            f"{document.train_samples} training and {document.val_samples} validation samples",
            f"processor: {cpu.get('model', 'unknown')}, {cpu.get('cores', '?')} cores",
            "",
        ]
    return lines


def choose_style(index: int, markers: bool) -> Dict[str, Any]:
    """How curve number `index` is drawn; the first eight look different without colours too."""
    color, width, line, marker, size = _STYLES[index % len(_STYLES)]
    style: Dict[str, Any] = {"color": color, "linewidth": width, "linestyle": line}
    return {**style, "marker": marker, "markersize": size} if markers else style


def find_style(color: str) -> int:
    """The number of the curve that has this colour."""
    return [style[0] for style in _STYLES].index(color)
