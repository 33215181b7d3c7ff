"""The report of a sweep as blocks, for the terminal (80 columns) and Markdown, and its pictures.

Units change here: seconds to milliseconds, bytes to MiB. The pictures are readable in grayscale.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

from ...report.blocks import Block, Figure, Heading, Table, Text
from ...report.curves import choose_style
from ...report.format import FEW_BLOCKS, MISSING, format_mib, format_number, format_short_ratio
from ...report.pictures import PICTURE_STYLE, plt, save_picture
from ...verdict.judge import EQUIVALENCE
from .document import MODES, SAME_MACHINE, Cell, Speedup, SweepDocument, name_cell, summarize_sweep
from .growth import QUANTITIES, Growth, Quantity, describe_growth, measure_growth

_SMALLEST = 1e-6  # milliseconds or MiB; a smaller value is the rounding of a fit
# a speedup counts if the modes agree; the next table has the parity itself
_AGREEMENT = {"identical": "agree", "equal within rounding": "agree", "different": "differ"}
_FAILED, _DONE = "#a02020", "#103060"


def report_sweep(document: SweepDocument, pictures: Sequence[Path] = ()) -> List[Block]:
    """The result in sentences, the tables, and the reasons of failures; PNG pictures as links."""
    growth = measure_growth(document)
    failures = [f"{cell.name}: {cell.failure}" for cell in document.cells if cell.failure]
    reasons = [*describe_growth(growth), *failures]
    cpu, cores, oneflow = map(document.machine.get, SAME_MACHINE)
    conditions = [
        f"Machine: {cpu}, {cores} cores, OneFlow {oneflow}.",
        f"Cells ran in random order in rounds over the models (seed {document.order_seed}). "
        "docs/sweep.md explains how each value is computed.",
    ]
    failed: List[Block] = [Heading("Failures and bad fits"), Text(reasons)] if reasons else []
    return [
        Heading(document.sweep_id),
        Text([*describe_summary(document), *conditions]),
        *_build_tables(document, growth),
        *failed,
        *(Figure(path.stem, path.name) for path in pictures if path.suffix == ".png"),
    ]


def _build_tables(document: SweepDocument, growth: Sequence[Growth]) -> List[Block]:
    """All tables with their titles; that of a growth if any curve of it has a fit."""
    baseline, contender = MODES
    speed = ["batch", *(f"{mode} ms" for mode in MODES), "speedup", "modes"]
    cost = ["batch", "parity", "compile s", *(f"{mode} MiB" for mode in MODES)]
    blocks: List[Block] = [
        Heading(f"Speed (speedup: {baseline} time / {contender} time, 95 % interval)"),
        Table(["cell", *speed], [_list_speed(cell) for cell in document.cells], right=speed),
        Heading("Parity, compile time and peak memory"),
        Table(["cell", *cost], [_list_cost(cell) for cell in document.cells], right=cost),
    ]
    for quantity in dict.fromkeys(one.quantity for one in growth if one.fit):
        shown = QUANTITIES[quantity]
        title = f"{shown.name.capitalize()} = {shown.floor} + cost per image x batch size"
        numbers = [f"floor {shown.unit}", f"{shown.unit} an image", "misfit"]
        rows = [_list_fit(one) for one in growth if one.quantity == quantity]
        blocks += [
            Heading(f"{title} (misfit: worst miss)"),
            Table(["curve", "mode", *numbers], rows, right=numbers),
        ]
    return blocks


def _list_speed(cell: Cell) -> List[str]:
    times = [cell.mode(mode).step_time_s for mode in MODES]
    shown = [MISSING if time is None else f"{time.median * 1e3:.3g}" for time in times]
    result = cell.result
    if result is None or result.status != "done":
        outcome = [result.status if result else "not run yet", MISSING]
    else:
        parity = result.parity or MISSING
        outcome = [_format_ratio(result.speedup), _AGREEMENT.get(parity, parity)]
    size = str(cell.values.get("batch_size", MISSING))
    return [name_cell(cell.curve), size, *shown, *outcome]


def _format_ratio(one: Optional[Speedup], without: str = FEW_BLOCKS) -> str:
    """A ratio with its interval, as in 1.052 (0.981-1.104)."""
    return without if one is None else format_short_ratio(one.ratio, one.low, one.high, without)


def _list_cost(cell: Cell) -> List[str]:
    return [
        name_cell(cell.curve),
        str(cell.values.get("batch_size", MISSING)),
        cell.result.parity or MISSING if cell.result else MISSING,
        format_number(cell.mode(MODES[1]).compile_s, ".2f"),
        *(format_mib(cell.mode(mode).peak_rss_bytes) for mode in MODES),
    ]


def _list_fit(growth: Growth) -> List[str]:
    fit, scale = growth.fit, growth.shown.scale
    if fit is None:
        return [growth.name, growth.mode, "no fit", MISSING, MISSING]
    return [
        growth.name,
        growth.mode,
        _estimate(fit.floor, fit.floor_low, fit.floor_high, scale),
        _estimate(fit.per_image, fit.per_image_low, fit.per_image_high, scale),
        f"{fit.worst_residual * 100:.1f} %" + (" bad" if fit.is_bad else ""),
    ]


def _estimate(value: float, low: float, high: float, scale: float) -> str:
    scaled = (x * scale for x in (value, low, high))
    shown, lower, upper = (f"{x if abs(x) >= _SMALLEST else 0:.3g}" for x in scaled)
    return f"{shown} ({lower} to {upper})"


def describe_summary(document: SweepDocument) -> List[str]:
    """The answer, and the counts beside it, in sentences."""
    summary = summarize_sweep(document)
    failed = sum(summary.failed.values())
    kinds = f" ({_list_counts(summary.failed)})" if failed else ""
    lines = [
        f"Cells: {summary.done} of {summary.cells} done; {failed} without a measurement{kinds}; "
        f"{summary.waiting} not run yet.",
        f"Parity of the cells done: {_list_counts(summary.parity)}.",
    ]
    mean = summary.mean
    if mean is None:
        return [*lines, "Geometric mean of the speedups: none, since no cell has one."]
    interval = "no interval, since one cell cannot give one"
    if mean.low is not None:
        interval = f"95 % {mean.low:.3f} to {mean.high:.3f}"
    basis = "for models like these" if mean.over == "models" else "for this model alone"
    lines += [
        f"Geometric mean of the speedups: {mean.ratio:.3f} ({interval}, {basis}), over "
        f"{_plural(mean.cells, 'cell')} of {_plural(mean.models, 'model')}.",
        "A cell is one pair of processes. It gives a speedup and no speed verdict; bench compare "
        "gives one.",
    ]
    if not summary.left_out:
        return [*lines, "No cell that was run is left out of the mean."]
    return [
        *lines,
        f"Left out of the mean: {_plural(len(summary.left_out), 'cell')} (failed, different, "
        f"or without a speedup). Counted as 1.0, the mean would be {summary.mean_if_one:.3f}; "
        f"counted as the worst measured ({summary.worst:.3f}), {summary.mean_if_worst:.3f}.",
    ]


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")


def _list_counts(counts: Dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "none"


def render_sweep_pictures(document: SweepDocument, folder: Path) -> List[Path]:
    """Draw `speedups`, `step_time` and `peak_memory` into `folder`; the paths written.

    Without a batch size nothing grows with it, and `speedups` is the only one.
    """
    growth = measure_growth(document)
    with plt.rc_context(PICTURE_STYLE):
        written = save_picture(draw_speedups(document), folder, "speedups")
        for quantity, shown in QUANTITIES.items() if growth else ():
            figure = draw_growth(growth, quantity)
            written += save_picture(figure, folder, shown.name.replace(" ", "_"))
    return written


def draw_growth(growth: Sequence[Growth], quantity: Quantity) -> Any:
    """A panel a curve: values of both modes over the batch size, with their fits from 0 on."""
    panels: Dict[str, List[Growth]] = {}
    for one in growth:
        if one.quantity == quantity:
            panels.setdefault(one.name, []).append(one)
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    size = (max(6.0, 4.6 * columns), 3.8 * rows)
    figure, shown = plt.figure(figsize=size, layout="constrained"), QUANTITIES[quantity]
    for place, (title, curves) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        drawn = [one for one in curves if one.points]
        for one in drawn:
            _draw_curve(axes, one)
        if drawn:
            axes.legend(fontsize=8, loc="best")
        else:
            axes.text(0.5, 0.5, "nothing measured", ha="center", transform=axes.transAxes)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title=title, xlabel="batch size", ylabel=f"{shown.name} ({shown.unit})")
        axes.set(xlim=(0, None), ylim=(0, None))
    return figure


def _draw_curve(axes: Any, one: Growth) -> None:
    scale = one.shown.scale
    sizes = [point.batch_size for point in one.points]
    bars = [_find_bars(point.value, point.low, point.high) for point in one.points]
    style = choose_style(MODES.index(one.mode), markers=True)
    line = {name: style.pop(name) for name in ("linewidth", "linestyle")}
    axes.errorbar(
        sizes,
        [point.value * scale for point in one.points],
        [[length * scale for length in side] for side in zip(*bars)],
        linestyle="none",
        capsize=3,
        label=f"{one.mode}: {_describe_fit(one)}",
        **style,
    )
    if one.fit:
        ends = [0, max(sizes)]
        line["linestyle"] = ":" if one.fit.is_bad else line["linestyle"]
        axes.plot(ends, [one.fit.at(end) * scale for end in ends], color=style["color"], **line)
    axes.margins(x=0.05, y=0.35)


def _describe_fit(one: Growth) -> str:
    fit, shown = one.fit, one.shown
    if fit is None:
        return "no fit (fewer than 3 batch sizes)"
    bad = f", bad fit (off by {fit.worst_residual * 100:.0f} %)" if fit.is_bad else ""
    slope = f"{abs(fit.per_image) * shown.scale:.3g} {shown.unit}/image"
    sign = "-" if fit.per_image < 0 else "+"
    return f"{fit.floor * shown.scale:.3g} {shown.unit} {sign} {slope}{bad}"


def draw_speedups(document: SweepDocument) -> Any:
    """A line a cell: its speedup with its interval, or its failure; the mean at the end."""
    cells, summary = document.cells, summarize_sweep(document)
    figure, axes = plt.subplots(figsize=(9, 1.8 + 0.3 * (len(cells) + 1)), layout="constrained")
    axes.axvspan(1 / (1 + EQUIVALENCE), 1 + EQUIVALENCE, color="grey", alpha=0.18, linewidth=0)
    axes.axvline(1, color="black", linewidth=0.8)
    for place, cell in enumerate(cells):
        _draw_cell(axes, place, cell)
    names = [cell.name for cell in cells]
    mean = summary.mean
    if mean:
        axes.axhline(len(cells) - 0.5, color="grey", linewidth=0.8)
        style = {"fmt": "D", "color": "#a02060", "markersize": 8, "linewidth": 2}
        _draw_ratio(axes, len(cells), mean, capsize=4, **style)
        names.append(f"geometric mean {_format_ratio(mean, 'one cell')}")  # its interval may be cut
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(cells) + 0.6, -0.6)
    _scale_speedups(axes, [cell.speedup for cell in cells if cell.speedup])
    baseline, contender = MODES
    axes.set_xlabel(f"speedup: {baseline} time / {contender} time (above 1: {contender} is faster)")
    left = f"; {len(summary.left_out)} left out of the mean" if summary.left_out else ""
    key = f"grey: within {EQUIVALENCE * 100:.0f} % of equal; bars: 95 % intervals"
    axes.set_title(f"{summary.done} of {summary.cells} cells done{left}\n{key}", fontsize=10)
    return figure


def _draw_cell(axes: Any, place: int, cell: Cell) -> None:
    speedup, result = cell.speedup, cell.result
    if speedup is None:
        word = result.status.replace("done", "no speedup") if result else "not run yet"
        color = _FAILED if result else "grey"
        axes.text(1, place, f" {word}", va="center", style="italic", color=color)
        return
    mark, color = ("x", _FAILED) if cell.differs else ("o", _DONE)
    _draw_ratio(axes, place, speedup, capsize=3, fmt=mark, color=color)
    if cell.differs:
        above = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center"}
        axes.annotate("modes differ", (speedup.ratio, place), fontsize=8, color=color, **above)


def _draw_ratio(axes: Any, place: int, ratio: Speedup, **style: Any) -> None:
    below, above = _find_bars(ratio.ratio, ratio.low, ratio.high)
    bars = None if ratio.low is None else [[below], [above]]
    axes.errorbar([ratio.ratio], [place], xerr=bars, **style)


def _find_bars(value: float, low: Optional[float], high: Optional[float]) -> Tuple[float, float]:
    """Lengths of an interval's bars below and above the value; 0 without an interval."""
    return value - (value if low is None else low), (value if high is None else high) - value


def _scale_speedups(axes: Any, speedups: Sequence[Speedup]) -> None:
    """A log scale, on which 2 and 1/2 are equally far from 1; it spans the cells."""
    spans = [(speedup.ratio, speedup.low, speedup.high) for speedup in speedups]
    ends = [1 / 1.1, 1.1, *(end for span in spans for end in span if end)]
    low, high = min(ends) / 1.03, max(ends) * 1.03
    axes.set(xscale="log", xlim=(low, high))
    locator: Locator = MaxNLocator(9, steps=[1, 2, 5, 10])
    if high - low > 4.5:  # more than nine steps of 0.5
        locator = LogLocator(subs=(1, 2, 5) if high / low < 1000 else (1,))
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
