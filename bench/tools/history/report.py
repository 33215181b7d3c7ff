"""Says a history in the terminal: a line a curve, its changes below. Units change here."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Dict, List, Sequence

from .metrics import METRICS, Metric
from .series import Change, Curve, History, Series, Value

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_POINTS = 30  # the newest; the pictures have them all
_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-=+*#@"
_ROUNDING = 1e-6  # of a bar: equal values have equal bars
CHANGE_MARK = "|"
SPANNED_STEPS = 4
VERDICT_MARKS = {"identical": "=", "equal within rounding": "~", "different": "x"}
OTHER_VERDICT_MARK = "?"


def format_value(metric: str, value: Value) -> str:
    shown = METRICS[metric]
    return value if isinstance(value, str) else format(value * shown.factor, shown.form)


def format_change(metric: str, change: Change) -> str:
    """`131.1 to 140.2 (+6.9 %)`; accuracy in points, verdicts in words."""
    text = f"{format_value(metric, change.before)} to {format_value(metric, change.after)}"
    if isinstance(change.before, str) or isinstance(change.after, str):
        return text
    if metric == "accuracy":
        return f"{text} ({(change.after - change.before) * 100:+.1f} points)"
    return text if change.relative is None else f"{text} ({change.relative * 100:+.1f} %)"


def render_sparkline(curve: Curve, encoding: str) -> str:
    """A character a run, with a mark before each change; the newest runs of a long curve.

    Plain ASCII where `encoding` has no bars.
    """
    first = max(0, len(curve.points) - SHOWN_POINTS)
    values = [point.value for point in curve.points[first:]]
    if curve.metric == "parity":
        marks = [VERDICT_MARKS.get(str(value), OTHER_VERDICT_MARK) for value in values]
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


def describe_series(series: Series) -> List[str]:
    """Two lines: what ran, and on what."""
    key = series.key
    variants = {value for name, value in key.items() if name.endswith(".oneflow")}
    return [
        f"{key['model']} on {Path(key['data']).name}, batch {key['batch_size']}, "
        f"{key['image_size']} px; contenders: {key['contenders']}",
        f"{key['processor']}, {key['cores']} cores, {key['memory']}; "
        f"OneFlow {' and '.join(sorted(variants))}",
    ]


def render_history(history: History, console: Console) -> None:
    """Every series with its curves, what changed, and what was left out."""
    from rich.markup import escape

    def say(text: str) -> None:
        console.print(escape(text), soft_wrap=True, highlight=False)

    many = len(history.series)
    for number, series in enumerate(history.series, start=1):
        days = f"{series.first[:10]} to {series.last[:10]}"
        count = len(series.runs)
        say(f"series {number} of {many}: {count} {'run' if count == 1 else 'runs'}, {days}")
        for line in describe_series(series):
            say(f"  {line}")
        if series.differences:
            words = f"not joined with series {number - 1}: {'; '.join(series.differences)}"
            lines = wrap(words, console.width - 4, subsequent_indent="  ")
            say("\n".join(f"  {line}" for line in lines))
        for line in render_curves(series.curves, console.encoding):
            say(f"  {line}")
        if count == 1 and series.curves:
            say("  one run: there is nothing to compare it with yet")
        say("")
    if any(curve.metric == "parity" for series in history.series for curve in series.curves):
        legend = ", ".join(f"{mark} {verdict}" for verdict, mark in VERDICT_MARKS.items())
        say(f"parity: {legend}, {OTHER_VERDICT_MARK} inconclusive")
    for reason in history.left_out:
        say(f"left out: {reason}")


def render_curves(curves: Sequence[Curve], encoding: str) -> List[str]:
    """The heading, a line a curve, and a line a change."""
    if not curves:
        return ["these runs hold none of the metrics asked for"]
    rows = [["metric", "contender", "first", "last", "runs, oldest first"]]
    changes: Dict[int, List[str]] = {}
    for curve in curves:
        changes[len(rows)] = [
            f"    changed: {format_change(curve.metric, change)} from {change.run_id} on"
            for change in curve.changes
        ]
        ends = [_end(curve, 0), _end(curve, -1)]
        line = render_sparkline(curve, encoding)
        rows.append([METRICS[curve.metric].heading, curve.contender, *ends, line])
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for number, row in enumerate(rows):
        cells = [text.ljust(width) for text, width in zip(row[:2], widths)]
        cells += [text.rjust(width) for text, width in zip(row[2:4], widths[2:])]
        lines.append("  ".join([*cells, row[4]]).rstrip())
        lines += changes.get(number, [])
    return lines


def _end(curve: Curve, index: int) -> str:
    value = curve.points[index].value
    if isinstance(value, str):
        return VERDICT_MARKS.get(value, OTHER_VERDICT_MARK)
    return format_value(curve.metric, value)
