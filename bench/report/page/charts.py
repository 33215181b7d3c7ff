"""The interactive curves of a page. They are read from the axes of the pictures.

A picture and its chart hold the same points, thinned alike, so they cannot disagree.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List

from ...record.run import RunRecord
from ..curves import find_style, list_series
from ..pictures import PICTURE_STYLE, choose_pictures, plt

DIGITS = 7  # significant ones; they tell any two shown float32 losses of a chart apart


def draw_charts(records: List[RunRecord]) -> List[Dict[str, Any]]:
    """A chart for each picture with something to show: title, axes, curves, and texts for none."""
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
