"""How time and memory grow with the batch size: value = floor + cost per image * batch size.

Pure functions of a sweep's stored cells.
"""

from __future__ import annotations

import json
from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np
from pydantic import BaseModel
from typing_extensions import Literal

from ...verdict.statistics import t_quantile
from .document import MODES, Cell, SweepDocument, Value, name_cell

MIN_BATCH_SIZES = 3
BAD_RESIDUAL = 0.1  # a fit that misses a point by more than this share of it is called bad

Quantity = Literal["step_time_s", "peak_rss_bytes"]


class Shown(NamedTuple):
    """How a quantity is shown: its values times `scale` are in `unit`."""

    name: str
    unit: str
    scale: float
    floor: str


QUANTITIES: Dict[Quantity, Shown] = {
    "step_time_s": Shown("step time", "ms", 1e3, "latency floor"),
    "peak_rss_bytes": Shown("peak memory", "MiB", 1 / 2**20, "floor"),
}


class Point(BaseModel):
    """A measured value at a batch size; low and high are None without an interval."""

    batch_size: int
    value: float
    low: Optional[float] = None
    high: Optional[float] = None


class LineFit(BaseModel):
    """floor + per_image * batch size, with 95 % intervals. Units are those of the values."""

    floor: float
    floor_low: float
    floor_high: float
    per_image: float
    per_image_low: float
    per_image_high: float
    floor_held: bool  # the free floor was below 0, so that it was held there
    faster_than_linear: bool  # even the upper end of the free floor was below 0
    worst_residual: float  # largest |value - fit| / value
    count: int

    @property
    def is_bad(self) -> bool:
        return self.faster_than_linear or self.worst_residual > BAD_RESIDUAL

    def at(self, batch_size: float) -> float:
        return self.floor + self.per_image * batch_size


class Growth(BaseModel):
    """One curve: a model (with its other axes) in one mode."""

    values: Dict[str, Value]  # without the batch size
    mode: str
    quantity: Quantity
    points: List[Point]
    fit: Optional[LineFit]
    note: str  # why there is no fit, or its flaw; empty if it is good

    @property
    def name(self) -> str:
        return name_cell(self.values)

    @property
    def shown(self) -> Shown:
        return QUANTITIES[self.quantity]


def measure_growth(document: SweepDocument) -> List[Growth]:
    """The curves of all models, modes and quantities, from the cells that were done.

    Cells whose modes differ are left out: one of their times is that of another computation. So are
    those of a `TrainingStep`, which have no batch size.
    """
    groups: Dict[str, List[Cell]] = {}
    for cell in (one for one in document.cells if "batch_size" in one.values):
        groups.setdefault(json.dumps(cell.curve, sort_keys=True), []).append(cell)
    return [
        _grow(cells, mode, quantity)
        for cells in groups.values()
        for quantity in QUANTITIES
        for mode in MODES
    ]


def _grow(cells: List[Cell], mode: str, quantity: Quantity) -> Growth:
    found = (_read_point(cell, mode, quantity) for cell in cells if not cell.differs)
    points = sorted((p for p in found if p is not None), key=lambda point: point.batch_size)
    fit = fit_line(points)
    return Growth(
        values=cells[0].curve,
        mode=mode,
        quantity=quantity,
        points=points,
        fit=fit,
        note=_note(points, fit),
    )


def _read_point(cell: Cell, mode: str, quantity: Quantity) -> Optional[Point]:
    batch_size, result = int(cell.values["batch_size"]), cell.mode(mode)
    if quantity == "peak_rss_bytes":
        value = result.peak_rss_bytes
        return None if value is None else Point(batch_size=batch_size, value=value)
    time = result.step_time_s
    if time is None:
        return None
    return Point(batch_size=batch_size, value=time.median, low=time.low, high=time.high)


def fit_line(points: Sequence[Point]) -> Optional[LineFit]:
    """Weighted least squares with the floor at 0 or above; None below three batch sizes.

    Each point weighs 1 / value**2. The scatter between cells (drift, one process or another) is a
    share of the value, and an unweighted fit would leave the floor to the largest batch. The
    scatter is estimated from the fit's own residuals, so that a misfit of the line widens the
    intervals too. They are t intervals with n - 2 degrees of freedom (Draper and Smith, Applied
    Regression Analysis, 1998, chapters 1 and 9): those of the free fit, cut at a floor of 0 and, if
    the floor is held there, widened to the value shown.
    """
    if len({point.batch_size for point in points}) < MIN_BATCH_SIZES:
        return None
    sizes = np.array([point.batch_size for point in points], dtype=float)
    values = np.array([point.value for point in points], dtype=float)
    free, covariance = np.polyfit(sizes, values, 1, w=1 / values, cov=True)
    free, deviations = free[::-1], np.sqrt(np.diag(covariance))[::-1]  # floor, per image
    half = t_quantile(len(points) - 2) * deviations
    low, high = free - half, free + half
    held = bool(free[0] < 0)
    shares = sizes / values
    slope = float(shares.sum() / (shares**2).sum()) if held else float(free[1])
    floor = max(0.0, float(free[0]))
    residuals = np.abs(floor + slope * sizes - values) / values
    return LineFit(
        floor=floor,
        floor_low=max(0.0, float(low[0])),
        floor_high=max(floor, float(high[0])),
        per_image=slope,
        per_image_low=min(slope, float(low[1])),
        per_image_high=max(slope, float(high[1])),
        floor_held=held,
        faster_than_linear=bool(high[0] < 0),
        worst_residual=float(residuals.max()),
        count=len(points),
    )


def _note(points: Sequence[Point], fit: Optional[LineFit]) -> str:
    if fit is None:
        count = len({point.batch_size for point in points})
        return f"no fit: {count} of the {MIN_BATCH_SIZES} batch sizes that it needs were measured"
    if fit.faster_than_linear:
        return "bad fit: growth is faster than in proportion to the batch size"
    if fit.is_bad:
        return f"bad fit: the line misses a point by {fit.worst_residual * 100:.0f} % of it"
    return ""


def describe_growth(growth: Sequence[Growth]) -> List[str]:
    """The missing and the bad fits; curves with the same note stand together."""
    notes: Dict[str, List[str]] = {}
    for one in growth:
        if one.note:
            notes.setdefault(one.note, []).append(f"{one.name} {one.mode} {one.shown.name}")
    return [
        ", ".join(curves[:3])
        + (f" and {len(curves) - 3} more" if curves[3:] else "")
        + f": {note}."
        for note, curves in notes.items()
    ]
