"""Pictures of a profile, PNG and SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple

from ...report.pictures import PICTURE_STYLE, plt, save_picture
from ...verdict.statistics import summarize
from .document import LayerRow, LimitsDocument, ProfileDocument, layer_rows, select_rows
from .work import Roof, create_roofs, sum_work

SHOWN_LAYERS = 30
_LONGEST_NAME = 34
_GIGA = 1e9
_MARKERS = "*^Dsv"
_COLOURS = ("#f0a030", "#103060", "#308040", "#a02060", "#606060")


def render_layers(document: ProfileDocument, folder: Path) -> List[Path]:
    """Draw `layers.png` and `layers.svg`: forward and backward of the layers that take most."""
    rows = layer_rows(document)
    shown = select_rows(rows, SHOWN_LAYERS)
    with plt.rc_context({**PICTURE_STYLE, "axes.grid": False, "font.size": 9}):
        height = 1.6 + 0.26 * len(shown)
        figure, axes = plt.subplots(figsize=(10, height), layout="constrained")
        places = range(len(shown))
        forward = [row.forward.median * 1e3 for row in shown]
        backward = [row.backward_s * 1e3 for row in shown]
        axes.barh(places, forward, color="#f0a030", edgecolor="#704800", label="forward")
        axes.barh(
            places, backward, left=forward, color="#103060", edgecolor="#103060", label="backward"
        )
        for place, row in zip(places, shown):
            text = f" {row.share * 100:.1f} %"
            axes.text(row.total_s * 1e3, place, text, va="center", fontsize=8)
        axes.set_yticks(list(places), [_shorten(f"{r.layer.name}  {r.layer.kind}") for r in shown])
        axes.invert_yaxis()
        axes.margins(x=0.08, y=0.01)
        axes.set_xlabel("milliseconds an iteration (median)")
        axes.legend(loc="best")
        alone = "each layer compiled alone" if document.mode == "graph" else "eager"
        hidden = len(rows) - len(shown)
        more = f"; the {len(shown)} largest of {len(rows)} layers" if hidden else ""
        axes.set_title(f"{_describe(document)}, {alone}{more}")
        return save_picture(figure, folder, "layers")


def _describe(document: ProfileDocument) -> str:
    return f"{document.model}, batch {document.batch_size}, {document.image_size} px"


def _shorten(name: str) -> str:
    """The end of a long name: it tells layers apart."""
    return name if len(name) <= _LONGEST_NAME else "..." + name[-_LONGEST_NAME + 3 :]


def render_roofline(document: ProfileDocument, limits: LimitsDocument, folder: Path) -> List[Path]:
    """Draw `roofline.png` and `roofline.svg`: roofs, layers, and the step of each contender.

    The roofline plot (Williams, Waterman and Patterson 2009): rate against operations a byte. A
    layer's ring lies on the roof, where it could be, and its dot where it was measured.
    """
    roofs = create_roofs(limits.ceilings, limits.cores)
    with plt.rc_context(PICTURE_STYLE):
        figure, axes = plt.subplots(figsize=(9, 6.6), layout="constrained")
        measured, possible = _list_points(layer_rows(document, limits), roofs[-1])
        xs = [x for x, _ in possible] + [roof.peak / roof.bandwidth for roof in roofs]
        left, right = min(xs) / 2, max(xs) * 2
        for roof, line in zip(reversed(roofs), ("-", "--")):
            _draw_roof(axes, roof, left, right, line)
        if possible:
            axes.plot(*zip(*possible), "o", markersize=5, markerfacecolor="none",
                      markeredgecolor="#808080", label="layers, where they could be")  # fmt: skip
        if measured:
            axes.plot(*zip(*measured), "o", markersize=4, color="#a02060",
                      label="layers, as profiled")  # fmt: skip
        _draw_steps(axes, limits)
        axes.set(xscale="log", yscale="log", xlim=(left, right), ylabel="GFLOP/s",
                 xlabel="operations a byte (FLOP / least bytes moved)",
                 title=f"{_describe(document)}: a train step and the machine's limits")  # fmt: skip
        figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
        return save_picture(figure, folder, "roofline")


def _draw_roof(axes: Any, roof: Roof, left: float, right: float, line: str) -> None:
    xs = sorted([left, roof.peak / roof.bandwidth, right])
    rates = f"{roof.peak / _GIGA:.0f} GFLOP/s, {roof.bandwidth / _GIGA:.0f} GB/s"
    axes.plot(
        xs,
        [roof.attainable(x) / _GIGA for x in xs],
        color="#404040",
        linestyle=line,
        linewidth=2,
        label=f"ceiling, {roof.describe()}: {rates}",
    )


def _list_points(
    rows: List[LayerRow], roof: Roof
) -> Tuple[List[Tuple[float, float]], List[Tuple[float, float]]]:
    """(operations a byte, GFLOP/s) of the layers that compute and move: measured, attainable.

    Of forward and backward, which a profile times; the update is the optimizer's.
    """
    measured, possible = [], []
    for row in rows:
        assert row.floor is not None
        work = row.floor.work.forward + row.floor.work.backward
        if work.flops and work.bytes:
            x = work.flops / work.bytes
            possible.append((x, roof.attainable(x) / _GIGA))
            if row.total_s:
                measured.append((x, work.flops / row.total_s / _GIGA))
    return measured, possible


def _draw_steps(axes: Any, limits: LimitsDocument) -> None:
    whole = sum_work(limits.layers)
    for number, step in enumerate(limits.steps):
        if not (whole.flops and whole.bytes and step.step_time_s):
            continue
        rate = whole.flops / summarize(step.step_time_s).median / _GIGA
        axes.scatter(
            [whole.flops / whole.bytes],
            [rate],
            s=90,
            marker=_MARKERS[number % len(_MARKERS)],
            color=_COLOURS[number % len(_COLOURS)],
            edgecolors="black",
            zorder=3,
            label=f"whole step, {step.name}: {rate:.1f} GFLOP/s",
        )
