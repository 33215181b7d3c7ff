"""The picture of a search: where the gain came from, readable in grayscale."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from ...report.pictures import PICTURE_STYLE, plt, save_picture
from ...verdict.judge import EQUIVALENCE, Interval
from .report import label_candidates
from .result import NOT_TRIED, ModeResult, TuneDocument

WIDEST_BAR = 1.25  # beyond the outermost ratio; what is longer is cut
LONGEST_LABEL = 46
_STYLES: Dict[str, Dict[str, Any]] = {
    "alone": {"marker": "o", "color": "#103060", "label": "alone"},
    "together": {"marker": "D", "color": "#c87800", "label": "together"},
    "left out": {"marker": "s", "color": "#308040", "label": "all but one"},
    "confirmed": {"marker": "*", "color": "#a02060", "markersize": 12, "label": "fresh processes"},
}


class Bar(NamedTuple):
    """A line of the picture: a speedup over stock, or a word where there is none."""

    group: str
    label: str
    interval: Optional[Interval]
    word: str


def list_bars(mode: ModeResult) -> List[Bar]:
    """From top to bottom; what was not timed has a word, what was not tried no line."""
    order = list(_STYLES)
    bars = [
        Bar(c.phase, label, c.over_stock if c.left_out else c.speedup, c.verdict)
        for c, label in zip(mode.candidates, label_candidates(mode.candidates))
        if c.verdict != NOT_TRIED
    ]
    bars += [
        Bar("confirmed", c.name, c.judgement.speedup if c.judgement else None, c.verdict)
        for c in mode.confirmations
        if c.verdict != NOT_TRIED
    ]
    return sorted(bars, key=lambda bar: order.index(bar.group))


def render_tuning_picture(document: TuneDocument, folder: Path) -> List[Path]:
    """Draw `gain` into `folder`, a panel for each mode; the paths written, none without a mode."""
    drawn = [(mode, list_bars(mode)) for mode in document.modes]
    drawn = [(mode, bars) for mode, bars in drawn if bars]
    if not drawn:
        return []
    with plt.rc_context(PICTURE_STYLE):
        heights = [len(bars) + 2.5 for _, bars in drawn]
        figure, grid = plt.subplots(
            len(drawn), 1, figsize=(10, 0.6 + 0.3 * sum(heights)), layout="constrained",
            squeeze=False, gridspec_kw={"height_ratios": heights},
        )  # fmt: skip
        for axes, (mode, bars) in zip(grid[:, 0], drawn):
            draw_gain(axes, mode, bars)
            axes.legend(loc="best", fontsize=8)
        return save_picture(figure, folder, "gain")


def draw_gain(axes: Any, mode: ModeResult, bars: Sequence[Bar]) -> None:
    """A line each, grouped; the axis is the speedup over stock, with its 95 % interval."""
    axes.axvspan(1 / (1 + EQUIVALENCE), 1 + EQUIVALENCE, color="grey", alpha=0.18, linewidth=0)
    axes.axvline(1, color="black", linewidth=0.8)
    labelled = set()
    for place, bar in enumerate(bars):
        if place and bar.group != bars[place - 1].group:
            axes.axhline(place - 0.5, color="grey", linewidth=0.8)
        if bar.interval is None:
            axes.text(1, place, f" {bar.word}", va="center", style="italic", color="#a02020")
            continue
        style = dict(_STYLES[bar.group])
        if bar.group in labelled:
            del style["label"]
        labelled.add(bar.group)
        _draw_interval(axes, place, bar.interval, style)
    axes.set_yticks(range(len(bars)), [_shorten(bar.label) for bar in bars], fontsize=8)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    _scale(axes, bars)
    chosen = f"chosen: {mode.chosen}" if mode.chosen else "stock stays"
    axes.set_title(f"{mode.mode} ({_shorten(chosen, 90)})", fontsize=10)
    axes.set_xlabel("speedup over stock (right of 1: faster; grey: within 2 %; bars: 95 %)")


def _draw_interval(axes: Any, place: int, interval: Interval, style: Dict[str, Any]) -> None:
    spread = None
    if interval.low is not None and interval.high is not None:
        low, high = interval.ratio - interval.low, interval.high - interval.ratio
        spread = [[max(0.0, low)], [max(0.0, high)]]
    axes.errorbar([interval.ratio], [place], xerr=spread, linestyle="none", capsize=3, **style)


def _scale(axes: Any, bars: Sequence[Bar]) -> None:
    """By the ratios and their intervals; a very wide one may run out of the picture."""
    found = [bar.interval for bar in bars if bar.interval]
    low, high = min([0.95, *(i.ratio for i in found)]), max([1.05, *(i.ratio for i in found)])
    lows = [i.low for i in found if i.low is not None and i.low > low / WIDEST_BAR]
    highs = [i.high for i in found if i.high is not None and i.high < high * WIDEST_BAR]
    low, high = min([low, *lows]), max([high, *highs])
    axes.set_xscale("log")
    axes.set_xlim(low / 1.02, high * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _shorten(text: str, longest: int = LONGEST_LABEL) -> str:
    """In two lines at most."""
    return "\n".join(wrap(text, longest, max_lines=2, placeholder=" ..."))
