"""The forest picture: each speedup and the control with their intervals, on one log axis.

The template draws it. Texts are HTML, so that they wrap, are read aloud and keep their size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from matplotlib.ticker import MaxNLocator

from ...verdict.judge import Interval
from ..comparison import Comparison
from ..format import format_interval, format_sequential

EDGE = 0.04  # of the width, left free on each side
MOST_TICKS = 5


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
    """Places of every mark; None where no speed phase was measured.

    Each contender has a row. The control is that of the first one: the baseline against itself.
    """
    measured = [one for one in comparisons if one.speed is not None]
    if not measured:
        return None
    named: List[Tuple[str, Interval, bool]] = [
        (f"{one.contender.name} against {one.baseline.name}", one.speed.judgement.speedup, False)
        for one in measured
        if one.speed
    ]
    first = measured[0]
    if first.speed:
        name = first.baseline.name
        control = f"Control: {name} against {name}"
        named.append((control, first.speed.judgement.control, True))
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
