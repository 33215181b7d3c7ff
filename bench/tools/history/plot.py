"""The pictures of a history: one a metric, a panel a series, PNG and SVG."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, List, Sequence

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from .metrics import METRICS  # noqa: E402
from .report import describe_series, format_change  # noqa: E402
from .series import Curve, History, Series  # noqa: E402

SHOWN_SERIES = 10  # those with the newest runs
SHOWN_DATES = 8
VERDICTS = ("different", "inconclusive", "equal within rounding", "identical")
_COLOURS = ("#d07000", "#103060", "#308040", "#a02060", "#707070", "#00a0a0", "#c05000", "#5050d0")
_MARKERS = ("o", "x", "s", "^", "D", "v", "+", "*")
_RC = {
    "svg.hashsalt": "oneflow-bench",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


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
            shown = [pair for pair in numbered if pair in newest]
            written += _render_metric(metric, shown, len(numbered), folder)
    return written


def _render_metric(metric: str, shown: Sequence[Any], of: int, folder: Path) -> List[Path]:
    with plt.rc_context(_RC):
        height = 0.6 + 3.1 * len(shown)
        figure, grid = plt.subplots(
            len(shown), 1, figsize=(10, height), layout="constrained", squeeze=False
        )
        hidden = f" (the {len(shown)} newest of {of} series)" if len(shown) < of else ""
        figure.suptitle(f"{METRICS[metric].heading}{hidden}", fontsize=12)
        for axes, (number, series) in zip(grid.flat, shown):
            draw_series(axes, metric, number, series)
        paths = [folder / f"history-{metric}.{suffix}" for suffix in ("png", "svg")]
        figure.savefig(paths[0], dpi=130)
        figure.savefig(paths[1], metadata={"Date": None})
        plt.close(figure)
    return paths


def draw_series(axes: Any, metric: str, number: int, series: Series) -> None:
    """One panel: the runs at equal distances, a curve a contender, changes as broken lines."""
    words = [f"series {number}: {describe_series(series)[0]}", describe_series(series)[1]]
    if series.differences:
        words.append(f"not joined with series {number - 1}: {'; '.join(series.differences)}")
    wrapped = [line for text in words for line in textwrap.wrap(text, 125)]
    axes.set_title("\n".join(wrapped), fontsize=8, loc="left")
    axes.set_ylabel(METRICS[metric].heading)
    places = {run: index for index, run in enumerate(series.runs)}
    contenders = series.key["contenders"].split(", ")
    for curve in series.curves:
        if curve.metric != metric:
            continue
        index = contenders.index(curve.contender)  # the same colour in every picture
        if metric == "parity":
            _draw_verdicts(axes, curve, places, index)
        else:
            _draw_numbers(axes, curve, places, index)
    _label_runs(axes, series)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _draw_numbers(axes: Any, curve: Curve, places: Any, index: int) -> None:
    factor = METRICS[curve.metric].factor
    colour = _COLOURS[index % len(_COLOURS)]
    at = [places[point.run_id] for point in curve.points]
    values = [float(point.value) * factor for point in curve.points]
    axes.plot(
        at,
        values,
        color=colour,
        marker=_MARKERS[index % len(_MARKERS)],
        markersize=5,
        linewidth=0.8,
        label=curve.contender,
    )
    for place, point in zip(at, curve.points):
        if point.low is not None and point.high is not None:
            bounds = [point.low * factor, point.high * factor]
            axes.plot([place, place], bounds, color=colour, linewidth=2.5, alpha=0.35)
    if curve.changes:
        ends = [0, *(change.index for change in curve.changes), len(at)]
        levels = [curve.changes[0].before, *(change.after for change in curve.changes)]
        for start, end, level in zip(ends, ends[1:], levels):
            height = float(level) * factor
            span = [at[start] - 0.4, at[end - 1] + 0.4]
            axes.plot(span, [height, height], color=colour, linewidth=5, alpha=0.25)
    for change in curve.changes:
        _mark_change(axes, at[change.index] - 0.5, format_change(curve.metric, change), index)


def _draw_verdicts(axes: Any, curve: Curve, places: Any, index: int) -> None:
    at = [places[point.run_id] for point in curve.points]
    heights = [VERDICTS.index(str(point.value)) for point in curve.points]
    axes.plot(
        at,
        heights,
        color=_COLOURS[index % len(_COLOURS)],
        marker=_MARKERS[index % len(_MARKERS)],
        linestyle="none",
        label=curve.contender,
    )
    for change in curve.changes:
        _mark_change(axes, at[change.index] - 0.5, "", index)
    axes.set_yticks(range(len(VERDICTS)), VERDICTS)
    axes.set_ylim(-0.5, len(VERDICTS) - 0.5)


def _mark_change(axes: Any, place: float, text: str, index: int) -> None:
    """A broken line; the words of several curves stand one below the other."""
    colour = _COLOURS[index % len(_COLOURS)]
    axes.axvline(place, color=colour, linestyle="--", linewidth=1)
    axes.annotate(
        text,
        (place, 1.0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        xytext=(3, -9 - 11 * index),
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
    axes.margins(y=0.25)
