"""The figures of a page: interactive curves, and the forest of the speedups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from matplotlib.ticker import MaxNLocator

from ...record.run import RunRecord
from ...verdict.judge import Interval
from ..comparison import Comparison
from ..curves import find_style, list_series
from ..format import format_interval, format_sequential
from ..pictures import PICTURE_STYLE, choose_pictures, plt

DIGITS = 7  # significant ones; they tell any two shown float32 losses of a chart apart
EDGE = 0.04  # of the width, left free on each side
MOST_TICKS = 5


def draw_charts(records: List[RunRecord]) -> List[Dict[str, Any]]:
    """A chart for each picture with something to show: title, axes, curves, and texts for none.

    They are read from the axes of the pictures, so that both show the same points.
    """
    series = list_series(records)
    charts = []
    with plt.rc_context(PICTURE_STYLE):
        for name, draw in choose_pictures(series).items():
            figure, axes = plt.subplots()
            try:
                draw(axes, series)
                charts.append({"name": name, **_read_axes(axes)})
            finally:
                plt.close(figure)
    return charts


def _read_axes(axes: Any) -> Dict[str, Any]:
    """A line that matplotlib named itself, such as the edge of a box, is no curve."""
    lines = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    return {
        "title": axes.get_title(),
        "x": axes.get_xlabel(),
        "y": axes.get_ylabel(),
        "log": axes.get_yscale() == "log",
        "said": " ".join(text.get_text() for text in axes.texts),
        "curves": [
            {
                "label": line.get_label(),
                "style": find_style(line.get_color()),
                "marks": line.get_linestyle() == "None",
                "x": [_shorten(value) for value in line.get_xdata()],
                "y": [_shorten(value) for value in line.get_ydata()],
            }
            for line in lines
        ],
    }


def _shorten(value: float) -> Any:
    """A number as JSON has it; None where it is not finite, which breaks the line."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


@dataclass(frozen=True)
class Row:
    """A ratio with its intervals. Places are percent of the width."""

    label: str
    value: str  # the ratio and its 95 % interval
    sequential: str  # the 99 % interval, empty where there is none
    at: float
    interval: Optional[Tuple[float, float]]
    whiskers: Optional[Tuple[float, float]]
    is_control: bool


@dataclass(frozen=True)
class Forest:
    """Rows over an axis. `margin` is the range of ratios that are too close to 1 to matter."""

    rows: List[Row]
    ticks: List[Tuple[float, str]]  # percent of the width, text
    margin: Tuple[float, float]
    margin_text: str
    one: float  # the place of a ratio of 1


def draw_forest(comparisons: Sequence[Comparison], margin: float) -> Optional[Forest]:
    """Each speedup and the control on one log axis; None where no speed phase was measured.

    Each contender has a row. The control is that of the first one: the baseline against itself.
    The template draws it. Texts are HTML, so that they wrap, are read aloud and keep their size.
    """
    judged = [(one, one.speed.judgement) for one in comparisons if one.speed]
    if not judged:
        return None
    named: List[Tuple[str, Interval, bool]] = [
        (f"{one.contender.name} against {one.baseline.name}", judgement.speedup, False)
        for one, judgement in judged
    ]
    name = judged[0][0].baseline.name
    named.append((f"Control: {name} against {name}", judged[0][1].control, True))
    ends = [1 - margin, 1 + margin]
    for _, one, _ in named:
        around = (one.low, one.high, one.sequential_low, one.sequential_high)
        ends += [one.ratio, *(end for end in around if end)]
    low, high = math.log(min(ends)), math.log(max(ends))
    scale = (1 - 2 * EDGE) / (high - low)

    def place(ratio: float) -> float:
        return round(100 * (EDGE + (math.log(ratio) - low) * scale), 2)

    def place_both(start: Optional[float], end: Optional[float]) -> Optional[Tuple[float, float]]:
        return None if not start or not end else (place(start), place(end))

    rows = [
        Row(
            label,
            format_interval(one),
            format_sequential(one) if one.sequential_low else "",
            place(one.ratio),
            place_both(one.low, one.high),
            place_both(one.sequential_low, one.sequential_high),
            is_control,
        )
        for label, one, is_control in named
    ]
    values = MaxNLocator(MOST_TICKS).tick_values(min(ends), max(ends))
    ticks = [(place(value), f"{value:.4g}") for value in values if min(ends) <= value <= max(ends)]
    band = (place(1 - margin), place(1 + margin))
    return Forest(rows, ticks, band, f"{100 * margin:g} %", place(1))
