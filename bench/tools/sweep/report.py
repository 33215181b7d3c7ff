"""The report of a sweep as blocks, for the terminal (80 columns) and Markdown, and its CSV.

Units change here: seconds to milliseconds, bytes to MiB. The CSV keeps seconds and bytes.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Dict, List, Sequence, Union

from ...report.blocks import Block, Figure, Heading, Table, Text
from ...report.format import MISSING, format_short_ratio
from ...verdict.statistics import Ratio
from .document import (
    MODES,
    Cell,
    GeometricMean,
    ModeResult,
    SweepDocument,
    SweepSummary,
    Value,
    name_cell,
    without_batch_size,
)
from .growth import Growth, Quantity

_SMALLEST = 1e-6  # milliseconds or MiB; a smaller value is the rounding of a fit
_SCALE: Dict[Quantity, float] = {"step_time_s": 1e3, "peak_rss_bytes": 1 / 2**20}
_UNIT: Dict[Quantity, str] = {"step_time_s": "ms", "peak_rss_bytes": "MiB"}
_TITLE: Dict[Quantity, str] = {
    "step_time_s": "Step time = latency floor + cost per image x batch size (misfit: worst miss)",
    "peak_rss_bytes": "Peak memory = floor + cost per image x batch size (misfit: worst miss)",
}
# a speedup counts if the modes agree; the next table has the parity itself
_AGREEMENT = {
    "identical": "agree",
    "equal within rounding": "agree",
    "different": "differ",
    "inconclusive": "inconclusive",
}


def report_sweep(
    document: SweepDocument,
    summary: SweepSummary,
    growth: Sequence[Growth],
    pictures: Sequence[Path] = (),
) -> List[Block]:
    """The result in sentences, the tables, and the reasons of failures; PNG pictures as links."""
    reasons = [*describe_growth(growth), *describe_failures(document)]
    machine = document.machine
    conditions = [
        f"Machine: {machine.get('cpu')}, {machine.get('cores')} cores, OneFlow "
        f"{machine.get('oneflow')}.",
        f"Cells ran in random order in rounds over the models (seed {document.order_seed}). "
        "docs/sweep.md explains how each value is computed.",
    ]
    blocks: List[Block] = [
        Heading(document.sweep_id),
        Text([*describe_summary(summary), *conditions]),
        *build_tables(document, growth),
    ]
    if reasons:
        blocks += [Heading("Failures and bad fits"), Text(reasons)]
    return blocks + [Figure(p.stem, p.name) for p in pictures if p.suffix == ".png"]


def build_tables(document: SweepDocument, growth: Sequence[Growth]) -> List[Block]:
    """All tables with their titles; that of a growth if any curve of it has a fit."""
    baseline, contender = MODES
    times, memory = [f"{mode} ms" for mode in MODES], [f"{mode} MiB" for mode in MODES]
    blocks: List[Block] = [
        Heading(f"Speed (speedup: {baseline} time / {contender} time, 95 % interval)"),
        Table(
            ["cell", "batch", *times, "speedup", "modes"],
            [_list_speed(cell) for cell in document.cells],
            right=["batch", *times, "speedup", "modes"],
        ),
        Heading("Parity, compile time and peak memory"),
        Table(
            ["cell", "batch", "parity", "compile s", *memory],
            [_list_cost(cell) for cell in document.cells],
            right=["batch", "parity", "compile s", *memory],
        ),
    ]
    for quantity in dict.fromkeys(one.quantity for one in growth if one.fit):
        numbers = [f"floor {_UNIT[quantity]}", f"{_UNIT[quantity]} an image", "misfit"]
        rows = [_list_fit(one) for one in growth if one.quantity == quantity]
        blocks += [
            Heading(_TITLE[quantity]),
            Table(["curve", "mode", *numbers], rows, right=numbers),
        ]
    return blocks


def name_curve(values: Dict[str, Value]) -> str:
    """The name of a cell without the batch size."""
    return name_cell(without_batch_size(values))


def _list_speed(cell: Cell) -> List[str]:
    times = [_get_mode(cell, mode).step_time_s for mode in MODES]
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


def _list_cost(cell: Cell) -> List[str]:
    result = cell.result
    parity = result.parity if result and result.parity else MISSING
    compile_s = _get_mode(cell, MODES[1]).compile_s
    memory = [_get_mode(cell, mode).peak_rss_bytes for mode in MODES]
    return [
        name_curve(cell.values),
        str(cell.values["batch_size"]),
        parity,
        MISSING if compile_s is None else f"{compile_s:.2f}",
        *(MISSING if value is None else f"{value / 2**20:.0f}" for value in memory),
    ]


def _get_mode(cell: Cell, mode: str) -> ModeResult:
    return (cell.result.modes if cell.result else {}).get(mode, ModeResult())


def _list_fit(growth: Growth) -> List[str]:
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


def describe_growth(growth: Sequence[Growth]) -> List[str]:
    """The missing and the bad fits; curves with the same note stand together."""
    quantities = {"step_time_s": "step time", "peak_rss_bytes": "peak memory"}
    notes: Dict[str, List[str]] = {}
    for one in growth:
        if one.note:
            curve = f"{name_curve(one.values)} {one.mode} {quantities[one.quantity]}"
            notes.setdefault(one.note, []).append(curve)
    lines = []
    for note, curves in notes.items():
        more = f" and {len(curves) - 3} more" if len(curves) > 3 else ""
        lines.append(f"{', '.join(curves[:3])}{more}: {note}.")
    return lines


def describe_summary(summary: SweepSummary) -> List[str]:
    """The answer, and the counts beside it, in sentences."""
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
    interval = (
        "no interval, since one cell cannot give one"
        if mean.low is None or mean.high is None
        else f"95 % {mean.low:.3f} to {mean.high:.3f}"
    )
    basis = {"models": "for models like these", "cells": "for this model alone"}[mean.over]
    lines += [
        f"Geometric mean of the speedups: {mean.ratio:.3f} ({interval}, {basis}), over "
        f"{_plural(mean.cells, 'cell')} of {_plural(mean.models, 'model')}.",
        "A cell is one pair of processes. It gives a speedup and no speed verdict; bench compare "
        "gives one.",
    ]
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


def _list_counts(counts: Dict[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "none"


def describe_failures(document: SweepDocument) -> List[str]:
    """Cells without a measurement, and those whose modes differ, with the reason of each."""
    lines = []
    for cell in document.cells:
        result, name = cell.result, name_cell(cell.values)
        if result and result.status != "done":
            lines.append(f"{name}: {result.status}; {result.reason}")
        elif result and result.parity in ("different", "inconclusive"):
            lines.append(f"{name}: parity {result.parity}; {result.parity_reason}")
    return lines


def format_csv(document: SweepDocument) -> str:
    """One row a cell, in seconds and bytes; empty if nothing was measured."""
    rows = [_list_values(cell) for cell in document.cells]
    fields = [*document.axes, "status", "reason", "record", "duration_s", "speedup"]
    fields += ["speedup_low", "speedup_high", "parity"]
    for mode in MODES:
        fields += [f"{mode}_step_time_s", f"{mode}_step_time_low_s", f"{mode}_step_time_high_s"]
        fields += [f"{mode}_compile_s", f"{mode}_first_step_s", f"{mode}_peak_rss_bytes"]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _list_values(cell: Cell) -> Dict[str, Any]:
    result = cell.result
    row: Dict[str, Any] = {**cell.values, "status": result.status if result else "not run"}
    if result is None:
        return row
    row.update(result.model_dump(include={"reason", "record", "duration_s", "parity"}))
    if result.speedup:
        row["speedup"] = result.speedup.ratio
        row["speedup_low"], row["speedup_high"] = result.speedup.low, result.speedup.high
    for mode in MODES:
        side = _get_mode(cell, mode)
        for name in ("compile_s", "first_step_s", "peak_rss_bytes"):
            row[f"{mode}_{name}"] = getattr(side, name)
        time = side.step_time_s
        if time:
            row[f"{mode}_step_time_s"] = time.median
            row[f"{mode}_step_time_low_s"], row[f"{mode}_step_time_high_s"] = time.low, time.high
    return row
