"""The pictures of a sweep, PNG and SVG, readable in grayscale."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from ...report.pictures import PICTURE_STYLE, plt, save_picture
from ...verdict.judge import EQUIVALENCE
from .document import Cell, SweepDocument, name_cell
from .growth import Growth, LineFit, Quantity
from .report import format_ratio, name_curve
from .summary import SweepSummary

_STYLES: Dict[str, Dict[str, Any]] = {
    "eager": {"color": "#c87800", "marker": "o", "markersize": 8, "markerfacecolor": "#f0a030"},
    "graph": {"color": "#103060", "marker": "x", "markersize": 7},
}
_LINES = {"eager": {"linewidth": 3.5, "alpha": 0.6}, "graph": {"linewidth": 1.4}}
_AXES: Dict[Quantity, Any] = {  # name, scale, unit, label
    "step_time_s": ("step_time", 1e3, "ms", "step time (ms)"),
    "peak_rss_bytes": ("peak_memory", 1 / 2**20, "MiB", "peak memory (MiB)"),
}
_COLUMNS = 3


def render_sweep_pictures(
    document: SweepDocument, summary: SweepSummary, growth: Sequence[Growth], folder: Path
) -> List[Path]:
    """Draw `speedups`, `step_time` and `peak_memory` into `folder`; the paths written."""
    with plt.rc_context(PICTURE_STYLE):
        written = save_picture(draw_speedups(document, summary), folder, "speedups")
        for quantity, (name, *_) in _AXES.items():
            figure = draw_growth([one for one in growth if one.quantity == quantity], quantity)
            written += save_picture(figure, folder, name)
    return written


def draw_growth(growth: Sequence[Growth], quantity: Quantity) -> Any:
    """A panel a curve: values of both modes over the batch size, with their fits from 0 on."""
    panels: Dict[str, List[Growth]] = {}
    for one in growth:
        panels.setdefault(name_curve(one.values), []).append(one)
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    size = (max(6.0, 4.6 * columns), 3.8 * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes, (title, curves) in zip(grid.flat, panels.items()):
        axes.set(title=title, xlabel="batch size", ylabel=_AXES[quantity][3])
        for one in curves:
            _draw_curve(axes, one, quantity)
        if not any(one.points for one in curves):
            axes.text(0.5, 0.5, "nothing measured", ha="center", transform=axes.transAxes)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, loc="best")
    return figure


def _draw_curve(axes: Any, one: Growth, quantity: Quantity) -> None:
    if not one.points:
        return
    _, scale, unit, _ = _AXES[quantity]
    sizes = [point.batch_size for point in one.points]
    values = [point.value * scale for point in one.points]
    below = [(p.value - (p.value if p.low is None else p.low)) * scale for p in one.points]
    above = [((p.value if p.high is None else p.high) - p.value) * scale for p in one.points]
    label = f"{one.mode}: {_describe_fit(one.fit, scale, unit)}"
    style = _STYLES[one.mode]
    axes.errorbar(sizes, values, [below, above], linestyle="none", capsize=3, label=label, **style)
    if one.fit:
        ends = [0, max(sizes)]
        color = style["color"]
        dashes = ":" if one.fit.is_bad else "-" if one.mode == "eager" else "--"
        line = [one.fit.at(end) * scale for end in ends]
        axes.plot(ends, line, color=color, linestyle=dashes, **_LINES[one.mode])
    axes.margins(x=0.05, y=0.35)


def _describe_fit(fit: Optional[LineFit], scale: float, unit: str) -> str:
    if fit is None:
        return "no fit (fewer than 3 batch sizes)"
    bad = f", bad fit (off by {fit.worst_residual * 100:.0f} %)" if fit.is_bad else ""
    sign = "-" if fit.per_image < 0 else "+"
    slope = f"{abs(fit.per_image) * scale:.3g} {unit}/image"
    return f"{fit.floor * scale:.3g} {unit} {sign} {slope}{bad}"


def draw_speedups(document: SweepDocument, summary: SweepSummary) -> Any:
    """A line a cell: its speedup with its interval, or what became of it; the mean at the end."""
    cells = document.cells
    figure, axes = plt.subplots(figsize=(9, 1.8 + 0.3 * (len(cells) + 1)), layout="constrained")
    axes.axvspan(1 / (1 + EQUIVALENCE), 1 + EQUIVALENCE, color="grey", alpha=0.18, linewidth=0)
    axes.axvline(1, color="black", linewidth=0.8)
    for place, cell in enumerate(cells):
        _draw_cell(axes, place, cell)
    mean = summary.mean
    if mean:
        interval = None
        if mean.low is not None and mean.high is not None:
            interval = [[mean.ratio - mean.low], [mean.high - mean.ratio]]
        axes.axhline(len(cells) - 0.5, color="grey", linewidth=0.8)
        axes.errorbar([mean.ratio], [len(cells)], xerr=interval, fmt="D", color="#a02060",
                      markersize=8, capsize=4, linewidth=2)  # fmt: skip
    names = [name_cell(cell.values) for cell in cells]
    if mean:
        names.append(
            f"geometric mean {format_ratio(mean)}"
        )  # its interval may be cut in the picture
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(cells) + 0.6, -0.6)
    _scale_speedups(axes, document, summary)
    axes.set_xlabel("speedup: eager time / graph time (right of 1: graph is faster)")
    left = len(summary.left_out)
    axes.set_title(
        f"{summary.done} of {summary.cells} cells done"
        + (f"; {left} left out of the mean" if left else "")
        + f"\ngrey: within {EQUIVALENCE * 100:.0f} % of equal; bars: 95 % intervals",
        fontsize=10,
    )
    return figure


def _draw_cell(axes: Any, place: int, cell: Cell) -> None:
    result = cell.result
    speedup = result.speedup if result and result.status == "done" else None
    if result is None or speedup is None:
        word = "not run yet" if result is None else result.status
        axes.text(1, place, f" {'no speedup' if word == 'done' else word}", va="center",
                  style="italic", color="grey" if result is None else "#a02020")  # fmt: skip
        return
    different = result.parity == "different"
    interval = None
    if speedup.low is not None and speedup.high is not None:
        interval = [[speedup.ratio - speedup.low], [speedup.high - speedup.ratio]]
    axes.errorbar([speedup.ratio], [place], xerr=interval, fmt="x" if different else "o",
                  color="#a02020" if different else "#103060", capsize=3)  # fmt: skip
    if different:
        axes.annotate("modes differ", (speedup.ratio, place), xytext=(0, 5), ha="center",
                      textcoords="offset points", fontsize=8, color="#a02020")  # fmt: skip


def _scale_speedups(axes: Any, document: SweepDocument, summary: SweepSummary) -> None:
    """A log scale, on which 2 and 1/2 are equally far from 1. The cells set its ends."""
    ends = [1 / 1.1, 1.1]
    for cell in document.cells:
        speedup = cell.result.speedup if cell.result else None
        if speedup:
            ends += [speedup.ratio, speedup.low or speedup.ratio, speedup.high or speedup.ratio]
    axes.set_xscale("log")
    low, high = min(ends) / 1.03, max(ends) * 1.03
    axes.set_xlim(low, high)
    axes.set_xticks(_choose_ticks(low, high))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _choose_ticks(low: float, high: float) -> List[float]:
    """Even steps where at most nine fit, else 1, 2, 5, 10, ..., or powers of ten alone."""
    for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5):
        if (high - low) / step <= 9:
            first, last = math.ceil(low / step), math.floor(high / step)
            return [k * step for k in range(max(1, first), last + 1)]
    powers = [10.0**k for k in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    factors = (1, 2, 5) if high / low < 1000 else (1,)
    return [f * power for power in powers for f in factors if low <= f * power <= high]
