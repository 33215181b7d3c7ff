"""Says a sweep in words and tables: terminal (80 columns) and Markdown.

One list of tables serves terminal and Markdown, so that they cannot disagree. Units change here:
seconds to milliseconds, bytes to MiB.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Sequence, Union

from ...report.format import MISSING, format_short_ratio
from ...verdict.statistics import Ratio
from .document import MODES, Cell, ModeResult, SweepDocument, Value, name_cell, without_batch_size
from .growth import Growth, Quantity
from .summary import GeometricMean, SweepSummary

if TYPE_CHECKING:
    from rich.console import Console

_SMALLEST = 1e-6  # milliseconds or MiB; what is below is the rounding of a fit, not a measurement
_SCALE: Dict[Quantity, float] = {"step_time_s": 1e3, "peak_rss_bytes": 1 / 2**20}
_UNIT: Dict[Quantity, str] = {"step_time_s": "ms", "peak_rss_bytes": "MiB"}
_TITLE: Dict[Quantity, str] = {
    "step_time_s": "Step time = latency floor + cost per image x batch size (misfit: worst miss)",
    "peak_rss_bytes": "Peak memory = floor + cost per image x batch size (misfit: worst miss)",
}
# a speedup counts where the modes agree; the next table has the parity itself
_AGREEMENT = {
    "identical": "agree",
    "equal within rounding": "agree",
    "different": "differ",
    "inconclusive": "inconclusive",
}


class ReportTable(NamedTuple):
    """A title, headers, rows of text; the first `left` columns are words, the others numbers."""

    title: str
    headers: List[str]
    rows: List[List[str]]
    left: int = 1


def report_tables(document: SweepDocument, growth: Sequence[Growth]) -> List[ReportTable]:
    """All tables of the report; that of a growth where any curve of it has a fit."""
    fitted = {one.quantity for one in growth if one.fit}
    return [
        ReportTable(
            "Speed (speedup: eager time / graph time, 95 % interval)",
            ["cell", "batch", "eager ms", "graph ms", "speedup", "modes"],
            [_speed_row(cell) for cell in document.cells],
        ),
        ReportTable(
            "Parity, compile time and peak memory",
            ["cell", "batch", "parity", "compile s", "eager MiB", "graph MiB"],
            [_cost_row(cell) for cell in document.cells],
        ),
        *(
            ReportTable(
                _TITLE[quantity],
                ["curve", "mode", f"floor {unit}", f"{unit} an image", "misfit"],
                [_growth_row(one) for one in growth if one.quantity == quantity],
                left=2,
            )
            for quantity, unit in _UNIT.items()
            if quantity in fitted
        ),
    ]


def name_curve(values: Dict[str, Value]) -> str:
    """A cell in words, without the batch size."""
    return name_cell(without_batch_size(values))


def _speed_row(cell: Cell) -> List[str]:
    times = [_mode(cell, mode).step_time_s for mode in MODES]
    shown = [MISSING if time is None else f"{time.median * 1e3:.3g}" for time in times]
    result = cell.result
    if result is None or result.status != "done":
        outcome = [result.status if result else "not run yet", MISSING]
    else:
        outcome = [format_ratio(result.speedup), _AGREEMENT.get(result.parity or "", MISSING)]
    return [name_curve(cell.values), str(cell.values["batch_size"]), *shown, *outcome]


def format_ratio(ratio: Union[Ratio, GeometricMean, None]) -> str:
    """A ratio with its interval, as in 1.052 (0.981-1.104)."""
    if ratio is None:
        return MISSING
    return format_short_ratio(ratio.ratio, ratio.low, ratio.high)


def _cost_row(cell: Cell) -> List[str]:
    result = cell.result
    parity = result.parity if result and result.parity else MISSING
    compile_s = _mode(cell, "graph").compile_s
    memory = [_mode(cell, mode).peak_rss_bytes for mode in MODES]
    return [
        name_curve(cell.values),
        str(cell.values["batch_size"]),
        parity,
        MISSING if compile_s is None else f"{compile_s:.2f}",
        *(MISSING if value is None else f"{value / 2**20:.0f}" for value in memory),
    ]


def _mode(cell: Cell, mode: str) -> ModeResult:
    return (cell.result.modes if cell.result else {}).get(mode, ModeResult())


def _growth_row(growth: Growth) -> List[str]:
    start = [name_curve(growth.values), growth.mode]
    fit, scale = growth.fit, _SCALE[growth.quantity]
    if fit is None:
        return [*start, "no fit", MISSING, MISSING]
    return [
        *start,
        _estimate(fit.floor, fit.floor_low, fit.floor_high, scale),
        _estimate(fit.per_image, fit.per_image_low, fit.per_image_high, scale),
        f"{fit.worst_residual * 100:.1f} %" + (" bad" if fit.is_bad else ""),
    ]


def _estimate(value: float, low: float, high: float, scale: float) -> str:
    scaled = (x * scale for x in (value, low, high))
    shown, lower, upper = (f"{x if abs(x) >= _SMALLEST else 0:.3g}" for x in scaled)
    return f"{shown} ({lower} to {upper})"


def growth_notes(growth: Sequence[Growth]) -> List[str]:
    """What is missing or wrong with the fits; curves with the same note stand together."""
    what = {"step_time_s": "step time", "peak_rss_bytes": "peak memory"}
    notes: Dict[str, List[str]] = {}
    for one in growth:
        if one.note:
            place = f"{name_curve(one.values)} {one.mode} {what[one.quantity]}"
            notes.setdefault(one.note, []).append(place)
    lines = []
    for note, places in notes.items():
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        lines.append(f"{', '.join(places[:3])}{more}: {note}.")
    return lines


def summary_lines(summary: SweepSummary) -> List[str]:
    """The answer, and what stands beside it, in sentences."""
    lines = [
        f"Cells: {summary.done} of {summary.cells} done; "
        f"{sum(summary.failed.values())} without a measurement{_in_words(summary.failed)}; "
        f"{summary.waiting} not run yet."
    ]
    lines.append(f"Parity of the cells done: {_list(summary.parity)}.")
    mean = summary.mean
    if mean is None:
        return [*lines, "Geometric mean of the speedups: none, for no cell has one."]
    interval = (
        "no interval, for one cell cannot give one"
        if mean.low is None or mean.high is None
        else f"95 % {mean.low:.3f} to {mean.high:.3f}"
    )
    basis = {"models": "for models like these", "cells": "for this model alone"}[mean.over]
    lines.append(
        f"Geometric mean of the speedups: {mean.ratio:.3f} ({interval}, {basis}), over "
        f"{_plural(mean.cells, 'cell')} of {_plural(mean.models, 'model')}. A cell is one pair of "
        "processes, which gives a speedup and no speed verdict; bench compare gives one."
    )
    count = len(summary.left_out)
    if not count:
        lines.append("No cell that was run is left out of the mean.")
    elif summary.mean_if_one is not None and summary.mean_if_worst is not None:
        lines.append(
            f"Left out of the mean: {_plural(count, 'cell')} (failed, different, or without a "
            f"speedup). Counted as 1.0, the mean would be {summary.mean_if_one:.3f}; counted as "
            f"the worst measured ({summary.worst:.3f}), {summary.mean_if_worst:.3f}."
        )
    return lines


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")


def _list(counts: Dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "none"


def _in_words(counts: Dict[str, int]) -> str:
    return f" ({_list(counts)})" if counts else ""


def failure_lines(document: SweepDocument) -> List[str]:
    """Cells without a measurement, and those whose modes differ, with the reason of each."""
    lines = []
    for cell in document.cells:
        result, name = cell.result, name_cell(cell.values)
        if result and result.status != "done":
            lines.append(f"{name}: {result.status}; {result.reason}")
        elif result and result.parity in ("different", "inconclusive"):
            lines.append(f"{name}: parity {result.parity}; {result.parity_reason}")
    return lines


def render_terminal(
    document: SweepDocument, summary: SweepSummary, growth: Sequence[Growth], console: Console
) -> None:
    """Tables that fit 80 columns, the reasons of failures, and the summary."""
    from rich import box
    from rich.table import Table

    for one in report_tables(document, growth):
        console.print(one.title, style="italic", highlight=False)  # a title would wrap at the table
        table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
        for position, header in enumerate(one.headers):
            words = position < one.left
            table.add_column(header, justify="left" if words else "right", overflow="fold")
        for row in one.rows:
            table.add_row(*row)
        console.print(table, "")
    for line in [*growth_notes(growth), *failure_lines(document), *summary_lines(summary)]:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def render_markdown(
    document: SweepDocument,
    summary: SweepSummary,
    growth: Sequence[Growth],
    pictures: Sequence[Path],
) -> str:
    """The report as Markdown; pictures are linked by their names, PNG only."""
    machine = document.machine
    lines = [f"# {document.sweep_id}", ""]
    lines += [line + "  " for line in summary_lines(summary)]
    for table in report_tables(document, growth):
        rule = ["---" if i < table.left else "---:" for i in range(len(table.headers))]
        lines += ["", f"## {table.title}", "", _markdown_row(table.headers), f"|{'|'.join(rule)}|"]
        lines += [_markdown_row(row) for row in table.rows]
    reasons = [*growth_notes(growth), *failure_lines(document)]
    if reasons:
        lines += ["", "## What is missing or wrong", "", *(f"- {line}" for line in reasons)]
    lines += [
        "",
        f"Machine: {machine.get('cpu')}, {machine.get('cores')} cores, OneFlow "
        f"{machine.get('oneflow')}. Cells ran in random order in rounds over the models (seed "
        f"{document.order_seed}). How everything is computed: docs/sweep.md.",
        "",
    ]
    lines += [f"![{p.stem}]({p.name})\n" for p in pictures if p.suffix == ".png"]
    return "\n".join(lines)


def _markdown_row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(text.replace('|', '/') for text in texts)} |"
