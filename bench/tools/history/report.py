"""Shows a history: the blocks of its report, and its pictures. Units change here."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from ...config import STEP_DATA
from ...report.blocks import Block, Heading, Table, Text
from ...report.curves import choose_style
from ...report.pictures import PICTURE_STYLE, plt, save_picture
from ...report.run_key import NONE
from . import METRICS, VERDICTS, Metric
from .series import Change, Curve, History, Series, Value

SHOWN_POINTS = 30  # the newest in a line; the pictures show all
SHOWN_SERIES = 10  # in a picture: those with the newest runs
SHOWN_DATES = 8
MARKED_POINTS = 200  # of a longer curve the marks would touch
CHANGE_MARK = "|"
SPANNED_STEPS = 4
VERDICT_MARKS = {"identical": "=", "equal within rounding": "~", "different": "x"}
OTHER_VERDICT_MARK = "?"
_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-=+*#@"
_ROUNDING = 1e-6  # of a bar: equal values have equal bars


def report_history(history: History, encoding: str) -> List[Block]:
    """Every series with its curves and their changes, and the runs left out.

    The bars of the curves are ASCII if `encoding` has no others.
    """
    blocks: List[Block] = []
    for number, series in enumerate(history.series, start=1):
        count = len(series.runs)
        title = f"series {number} of {len(history.series)}: {count} run{'s' if count > 1 else ''}"
        blocks += [
            Heading(f"{title}, {series.first[:10]} to {series.last[:10]}"),
            Text(describe_series(series, number)),
            *_report_curves(series, encoding),
        ]
        if count == 1 and series.curves:
            blocks.append(Text(["One run: there is no other to compare it with yet."]))
    if any(curve.metric == "parity" for series in history.series for curve in series.curves):
        legend = ", ".join(f"{mark} {verdict}" for verdict, mark in VERDICT_MARKS.items())
        blocks.append(Text([f"parity: {legend}, {OTHER_VERDICT_MARK} other"]))
    return blocks + [Text([f"left out: {reason}"]) for reason in history.left_out]


def describe_series(series: Series, number: int) -> List[str]:
    """The workload, the machine, and the differences from the series before."""
    key = series.key
    variants = {value for name, value in key.items() if name.endswith(".oneflow")}
    chosen = [f"{name} {key[name]}" for name in ("branch", "label") if key[name] != NONE]
    size = f", batch {key['batch_size']}, {key['image_size']} px"
    if key["data"] == STEP_DATA:  # a step's batches are its own
        size = ""
    lines = [
        f"{key['model']} on {series.data}{size}; contenders: "
        + "; ".join([key["contenders"], *chosen]),
        f"{key['processor']}, {key['cores']} cores, {key['memory']}; "
        f"OneFlow {' and '.join(sorted(variants))}",
    ]
    if series.differences:
        lines.append(f"not joined with series {number - 1}: {'; '.join(series.differences)}")
    return lines


def _report_curves(series: Series, encoding: str) -> List[Block]:
    """A row a curve, then a line a change."""
    if not series.curves:
        return [Text(["These runs hold none of the metrics asked for."])]
    rows, changes = [], []
    for curve in series.curves:
        heading = METRICS[curve.metric].heading
        values = (curve.points[0].value, curve.points[-1].value)
        ends = [
            mark_verdict(v) if isinstance(v, str) else format_value(curve.metric, v) for v in values
        ]
        rows.append([heading, curve.contender, *ends, draw_line(curve, encoding)])
        changes += [
            f"changed: {heading} of {curve.contender}, {format_change(curve.metric, change)} "
            f"from {change.run_id} on"
            for change in curve.changes
        ]
    columns = ["metric", "contender", "first", "last", "runs, oldest first"]
    blocks: List[Block] = [Table(columns, rows, right=["first", "last"])]
    return [*blocks, Text(changes)] if changes else blocks


def mark_verdict(verdict: Value) -> str:
    return VERDICT_MARKS.get(str(verdict), OTHER_VERDICT_MARK)


def format_value(metric: str, value: Value) -> str:
    shown = METRICS[metric]
    return value if isinstance(value, str) else format(value * shown.factor, shown.form)


def format_change(metric: str, change: Change) -> str:
    """`131.1 to 140.2 (+6.9 %)`; accuracy in points, verdicts by name."""
    text = f"{format_value(metric, change.before)} to {format_value(metric, change.after)}"
    if isinstance(change.before, str) or isinstance(change.after, str):
        return text
    if metric == "accuracy":
        return f"{text} ({(change.after - change.before) * 100:+.1f} points)"
    return text if change.relative is None else f"{text} ({change.relative * 100:+.1f} %)"


def draw_line(curve: Curve, encoding: str) -> str:
    """A character a run, with a mark before each change; the newest runs of a long curve."""
    first = max(0, len(curve.points) - SHOWN_POINTS)
    values = [point.value for point in curve.points[first:]]
    if curve.metric == "parity":
        marks = [mark_verdict(value) for value in values]
    else:
        marks = _draw_bars(METRICS[curve.metric], [float(value) for value in values], encoding)
    changed = {change.index - first for change in curve.changes}
    line = "".join((CHANGE_MARK if i in changed else "") + mark for i, mark in enumerate(marks))
    return ("..." if first else "") + line


def _draw_bars(metric: Metric, values: Sequence[float], encoding: str) -> List[str]:
    """Heights over the range of the values, but at least over that of SPANNED_STEPS steps that
    count: so noise stays flat and a change stands out.
    """
    bars = _BARS
    try:
        bars.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        bars = _ASCII_BARS
    low, high = min(values), max(values)
    middle = (low + high) / 2
    step = (metric.min_step or 0.0) * (middle if metric.relative else 1.0)
    span = max(high - low, SPANNED_STEPS * step)
    bottom = middle - span / 2
    heights = [int((v - bottom) / span * len(bars) + _ROUNDING) for v in values]
    return [bars[min(height, len(bars) - 1)] for height in heights]


def render_history_pictures(history: History, folder: Path) -> List[Path]:
    """Draw `history-<metric>.png` and `.svg` for every metric that some series has."""
    written = []
    for metric in METRICS:
        numbered = [
            (number, one)
            for number, one in enumerate(history.series, start=1)
            if any(curve.metric == metric for curve in one.curves)
        ]
        newest = sorted(numbered, key=lambda pair: pair[1].last)[-SHOWN_SERIES:]
        if newest:
            with plt.rc_context({**PICTURE_STYLE, "font.size": 9}):
                shown = [pair for pair in numbered if pair in newest]
                figure = _draw_metric(metric, shown, len(numbered))
                written += save_picture(figure, folder, f"history-{metric}")
    return written


def _draw_metric(metric: str, shown: Sequence[Tuple[int, Series]], of: int) -> Any:
    """A panel for each series with its number; `of` is the number of series with that metric."""
    height = 0.6 + 3.1 * len(shown)
    figure, grid = plt.subplots(
        len(shown), 1, figsize=(10, height), layout="constrained", squeeze=False
    )
    hidden = f" (the {len(shown)} newest of {of} series)" if len(shown) < of else ""
    figure.suptitle(f"{METRICS[metric].heading}{hidden}", fontsize=12)
    for axes, (number, series) in zip(grid.flat, shown):
        draw_series(axes, metric, number, series)
    return figure


def draw_series(axes: Any, metric: str, number: int, series: Series) -> None:
    """One panel: the runs at equal distances, a curve a contender, changes as broken lines."""
    lines = f"series {number}: " + "\n".join(describe_series(series, number))
    wrapped = [line for text in lines.splitlines() for line in textwrap.wrap(text, 125)]
    axes.set_title("\n".join(wrapped), fontsize=8, loc="left")
    axes.set_ylabel(METRICS[metric].heading)
    places = {run: index for index, run in enumerate(series.runs)}
    contenders = series.key["contenders"].split(", ")
    for curve in series.curves:
        if curve.metric == metric:  # a contender has the same colour in every picture
            _draw_curve(axes, curve, places, contenders.index(curve.contender))
    axes.margins(y=0.25)
    if metric == "parity":
        axes.set_yticks(range(len(VERDICTS)), VERDICTS)
        axes.set_ylim(-0.5, len(VERDICTS) - 0.5)
    _label_runs(axes, series)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_curve(axes: Any, curve: Curve, places: Dict[str, int], index: int) -> None:
    """Values with their intervals and levels, or verdicts."""
    verdicts, factor = curve.metric == "parity", METRICS[curve.metric].factor
    style = choose_style(index, markers=verdicts or len(curve.points) <= MARKED_POINTS)
    style.update(markersize=5, linewidth=0.8, linestyle="none" if verdicts else "-")
    colour = style["color"]
    at = [places[point.run_id] for point in curve.points]
    heights = [
        float(VERDICTS.index(str(p.value)) if verdicts else p.value) * factor for p in curve.points
    ]
    axes.plot(at, heights, label=curve.contender, **style)
    bounds = [
        (place, point.low * factor, point.high * factor)
        for place, point in zip(at, curve.points)
        if point.low is not None and point.high is not None
    ]
    if bounds:  # one line with gaps is drawn sooner than many lines
        places_of = [x for place, _, _ in bounds for x in (place, place, math.nan)]
        ends = [y for _, low, high in bounds for y in (low, high, math.nan)]
        axes.plot(places_of, ends, color=colour, linewidth=2.5, alpha=0.35, solid_capstyle="butt")
    starts = [0, *(change.index for change in curve.changes)]
    levels = [change.before for change in curve.changes[:1]] + [c.after for c in curve.changes]
    for start, end, level in zip(starts, [*starts[1:], len(at)], [] if verdicts else levels):
        height, span = float(level) * factor, [at[start] - 0.4, at[end - 1] + 0.4]
        axes.plot(span, [height, height], color=colour, linewidth=5, alpha=0.25)
    for change in curve.changes:
        between = at[change.index] - 0.5
        axes.axvline(between, color=colour, linestyle="--", linewidth=1)
        axes.annotate(
            "" if verdicts else format_change(curve.metric, change),
            (between, 1.0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            xytext=(3, -9 - 11 * index),  # of several curves, one below the other
            fontsize=8,
            color=colour,
        )


def _label_runs(axes: Any, series: Series) -> None:
    """Dates at the first, the last and some runs between."""
    dates = {point.run_id: point.created for curve in series.curves for point in curve.points}
    count = len(series.runs)
    step = max(1, -(-count // SHOWN_DATES))
    shown = list(range(0, count, step))
    labels = [dates.get(series.runs[i], "")[:16].replace("T", "\n") for i in shown]
    axes.set_xticks(shown, labels, fontsize=7)
    axes.set_xlim(-0.7, count - 0.3)
