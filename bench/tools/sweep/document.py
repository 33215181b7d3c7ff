"""`sweep.json`: a sweep's cells and their results, and the summary of all cells.

A sweep folder holds

    sweep.json           this document, replaced atomically after every cell
    cells/<name>/        the record of a cell, as `bench compare` writes it

The whole report is computed from the document. Schema history:

    1   first version
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

from pydantic import BaseModel, Field
from typing_extensions import Literal

from ...config import Measuring, Workload
from ...errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_INCONCLUSIVE, EXIT_WORKER_FAILED, worst_status
from ...record.checksum import format_document
from ...record.run import load_document, save_text
from ...verdict.statistics import Ratio, Summary, t_quantile

SWEEP_SCHEMA_VERSION = 1
SWEEP_NAME = "sweep.json"
CELLS_FOLDER = "cells"
MODES = ("eager", "graph")  # baseline and contender of every cell
# of a machine; its memory is left out: a kernel's own share changes from one start to the next
SAME_MACHINE = ("cpu", "cores", "oneflow")

Value = Union[bool, int, float, str]
CellStatus = Literal["done", "refused", "failed", "timeout", "out of memory"]


class _Strict(BaseModel, extra="forbid", protected_namespaces=()):
    pass


class ModeResult(_Strict):
    """One mode of a cell, in seconds and bytes; None if the record does not hold it."""

    step_time_s: Optional[Summary] = None  # of a training step, over steady blocks
    compile_s: Optional[float] = None  # train and eval graph; 0 in eager mode
    first_step_s: Optional[float] = None  # after compiling
    peak_rss_bytes: Optional[int] = None


class CellResult(_Strict):
    """The result of a cell. It has measured values if it is `done`."""

    status: CellStatus
    reason: str  # a sentence
    record: Optional[str] = None  # the cell's own record, relative to the sweep's folder
    started: str  # ISO 8601, UTC
    duration_s: float
    cell_timeout_s: float  # the limit that it ran under
    modes: Dict[str, ModeResult] = Field(default_factory=dict)
    speedup: Optional[Ratio] = None  # eager time / graph time, of one pair of processes
    parity: Optional[str] = None
    parity_reason: Optional[str] = None


class Cell(_Strict):
    """One comparison of the modes: its values on the axes, its configuration and its result."""

    values: Dict[str, Value]  # model, batch_size but of a TrainingStep, and every other axis
    fingerprint: str  # sha256 of the configuration; a cell with another one is another measurement
    workload: Optional[Workload]  # None where the flags were refused
    measuring: Measuring
    side: Dict[str, Value]  # fields of both contenders: runtime, device
    result: Optional[CellResult] = None  # None: not run yet

    @property
    def name(self) -> str:
        return name_cell(self.values)

    @property
    def curve(self) -> Dict[str, Value]:
        return {axis: value for axis, value in self.values.items() if axis != "batch_size"}

    @property
    def speedup(self) -> Optional[Ratio]:
        return self.result.speedup if self.result and self.result.status == "done" else None

    @property
    def differs(self) -> bool:
        return self.result is not None and self.result.parity == "different"

    @property
    def failure(self) -> Optional[str]:
        """Why it has no measurement, or why its modes differ; None for a good or a waiting cell."""
        result = self.result
        if result and result.status != "done":
            return f"{result.status}; {result.reason}"
        if result and result.parity in ("different", "inconclusive"):
            return f"parity {result.parity}; {result.parity_reason}"
        return None

    def mode(self, mode: str) -> ModeResult:
        """Without values where nothing was measured."""
        return (self.result.modes if self.result else {}).get(mode, ModeResult())


class SweepDocument(_Strict):
    schema_version: int = SWEEP_SCHEMA_VERSION
    sweep_id: str
    created: str  # ISO 8601, UTC
    status: Literal["running", "complete", "interrupted", "failed"] = "running"
    axes: Dict[str, List[Value]]
    order_seed: int  # of the order that the cells are run in
    machine: Dict[str, Any] = Field(default_factory=dict)
    cells: List[Cell]


def name_cell(values: Dict[str, Value]) -> str:
    """The name of a cell, such as "resnet18 batch_size=4 feed=memory"; of a curve likewise."""
    others = [f"{axis}={value}" for axis, value in values.items() if axis != "model"]
    return " ".join([str(values["model"]), *others])


def save_sweep(folder: Path, document: SweepDocument) -> None:
    """Replace `sweep.json`. Raises InputError if it cannot be written."""
    save_text(
        folder / SWEEP_NAME,
        format_document(document),
        "make room there or give --out a folder you may write to",
    )


def load_sweep(folder: Path) -> SweepDocument:
    """Read a sweep's folder (or the `sweep.json` in it).

    Raises RecordError for a missing or damaged file and another schema version.
    """
    path = folder if folder.name == SWEEP_NAME else folder / SWEEP_NAME
    remedy = "give a folder made by bench sweep"
    return load_document(path, SweepDocument, (SWEEP_SCHEMA_VERSION,), "sweep", remedy)


def format_csv(document: SweepDocument) -> str:
    """One row a cell, in seconds and bytes; empty if nothing was measured."""
    fields = [*document.axes, "status", "reason", "record", "duration_s"]
    fields += ["speedup", "speedup_low", "speedup_high", "parity"]
    fields += [name for mode in MODES for name in _list_mode(mode, ModeResult())]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_list_values(cell) for cell in document.cells)
    return stream.getvalue()


def _list_values(cell: Cell) -> Dict[str, Any]:
    if cell.result is None:
        return {**cell.values, "status": "not run"}
    named = {"status", "reason", "record", "duration_s", "parity"}
    row = {**cell.values, **cell.result.model_dump(include=named)}
    speedup = cell.result.speedup
    if speedup:
        row.update(speedup=speedup.ratio, speedup_low=speedup.low, speedup_high=speedup.high)
    for mode in MODES:
        row.update(_list_mode(mode, cell.mode(mode)))
    return row


def _list_mode(mode: str, result: ModeResult) -> Dict[str, Optional[float]]:
    time = result.step_time_s
    return {
        f"{mode}_step_time_s": time.median if time else None,
        f"{mode}_step_time_low_s": time.low if time else None,
        f"{mode}_step_time_high_s": time.high if time else None,
        f"{mode}_compile_s": result.compile_s,
        f"{mode}_first_step_s": result.first_step_s,
        f"{mode}_peak_rss_bytes": result.peak_rss_bytes,
    }


class GeometricMean(BaseModel):
    """Of speedups, with its 95 % interval, which is None for a single value.

    `over` is the population of the interval: "models" if there are several, else "cells".
    """

    ratio: float
    low: Optional[float]
    high: Optional[float]
    over: str
    models: int
    cells: int


Speedup = Union[Ratio, GeometricMean]


class SweepSummary(BaseModel):
    """Counts of cells add up to `cells`: done + failed (by status) + waiting."""

    cells: int
    done: int
    waiting: int  # not run yet
    failed: Dict[str, int]  # status -> cells
    parity: Dict[str, int]  # verdict -> cells, of those done
    mean: Optional[GeometricMean]
    left_out: List[str]  # run, but not in the mean: failed, modes differ, or no speedup
    worst: Optional[float]  # smallest speedup in the mean
    mean_if_one: Optional[float]  # the mean if those left out counted as 1.0
    mean_if_worst: Optional[float]  # or as the smallest measured


def summarize_sweep(document: SweepDocument) -> SweepSummary:
    """The numbers of the sweep as a whole.

    Cells whose modes differ are not in the mean: a graph that computes something else is no faster
    way to the same result.
    """
    results = [cell.result for cell in document.cells if cell.result is not None]
    statuses = Counter(str(result.status) for result in results)
    done = statuses.pop("done", 0)
    logs: Dict[Value, List[float]] = {}
    left_out: List[str] = []
    for cell in document.cells:
        if cell.speedup and not cell.differs:
            logs.setdefault(cell.values["model"], []).append(math.log(cell.speedup.ratio))
        elif cell.result:
            left_out.append(cell.name)
    counted = [value for values in logs.values() for value in values]
    worst = min(counted, default=None)

    def impute(value: Optional[float]) -> Optional[float]:
        if value is None or not counted:
            return None
        total = sum(counted) + len(left_out) * value
        return math.exp(total / (len(counted) + len(left_out)))

    return SweepSummary(
        cells=len(document.cells),
        done=done,
        waiting=len(document.cells) - len(results),
        failed=statuses,
        parity=Counter(str(result.parity) for result in results if result.status == "done"),
        mean=average_speedups(logs) if counted else None,
        left_out=left_out,
        worst=None if worst is None else math.exp(worst),
        mean_if_one=impute(0.0),
        mean_if_worst=impute(worst),
    )


def average_speedups(logs: Dict[Value, List[float]]) -> GeometricMean:
    """The geometric mean over cells, from each model's log speedups.

    Cells of one model resemble each other, so that a model counts as one observation. The
    interval is that of the mean with cluster-robust variance, G / (G - 1) * sum over the G models
    of (n_g * (mean_g - mean) / N)**2, and a t quantile of G - 1 degrees of freedom (Cameron and
    Miller, A Practitioner's Guide to Cluster-Robust Inference, Journal of Human Resources 50,
    2015); with equally many cells a model that is the t interval over the models' means. A
    bootstrap over models, then cells, is too narrow for the few models a sweep has:
    `benchmarks/sweep_interval.py` prints the coverage of both. With one model the observations are
    its cells, and the interval is about that model alone.
    """
    groups = list(logs.values()) if len(logs) > 1 else [[x] for x in next(iter(logs.values()))]
    count, cells = len(groups), sum(map(len, groups))
    mean = sum(map(sum, groups)) / cells
    low = high = None
    if count > 1:
        squares = sum((sum(value - mean for value in group) / cells) ** 2 for group in groups)
        half = t_quantile(count - 1) * math.sqrt(count / (count - 1) * squares)
        low, high = math.exp(mean - half), math.exp(mean + half)
    return GeometricMean(
        ratio=math.exp(mean),
        low=low,
        high=high,
        over="models" if len(logs) > 1 else "cells",
        models=len(logs),
        cells=cells,
    )


def choose_exit_status(summary: SweepSummary) -> int:
    """That of the worst cell: its modes differ, it has no measurement, or its parity is unknown."""
    statuses = [EXIT_DONE]
    if summary.parity.get("different"):
        statuses.append(EXIT_DIFFERENT)
    if summary.failed:
        statuses.append(EXIT_WORKER_FAILED)
    if summary.parity.get("inconclusive") or summary.waiting:
        statuses.append(EXIT_INCONCLUSIVE)
    return worst_status(statuses)
