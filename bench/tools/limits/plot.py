"""The roofline plot (Williams, Waterman and Patterson 2009): rate against operations a byte."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, List, Tuple

from ...report.pictures import PICTURE_STYLE, plt, save_picture
from ...verdict.statistics import summarize
from .document import LimitsDocument
from .floor import Roof, create_roofs, layer_floors, sum_work
from .work import LayerWork, Work, add_work

_GIGA = 1e9
_MARKERS = "*^Dsv"
_COLOURS = ("#f0a030", "#103060", "#308040", "#a02060", "#606060")


def render_limits_picture(document: LimitsDocument, folder: Path) -> List[Path]:
    """Draw `roofline.png` and `roofline.svg`: roofs, layers, and the step of each contender.

    A layer's ring lies on the roof, where it could be; where a profile is there, its dot lies where
    the layer is.
    """
    roofs = create_roofs(document)
    with plt.rc_context(PICTURE_STYLE):
        figure, axes = plt.subplots(figsize=(9, 6.6), layout="constrained")
        intensities = [x for x, _ in _layer_points(document, roofs[-1])]
        ridge = max(roof.peak / roof.bandwidth for roof in roofs)
        left = min([*intensities, ridge]) / 2
        right = max([*intensities, ridge]) * 2
        for roof, line in zip(reversed(roofs), ("-", "--")):
            _draw_roof(axes, roof, left, right, line)
        _draw_layers(axes, document, roofs[-1])
        _draw_steps(axes, document)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(left, right)
        axes.set_xlabel("operations a byte (FLOP / least bytes moved)")
        axes.set_ylabel("GFLOP/s")
        work = document.workload
        axes.set_title(
            f"{work.model}, batch {work.batch_size}, {work.image_size} px: "
            "how far a train step is from the machine's limits"
        )
        figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
        return save_picture(figure, folder, "roofline")


def _draw_roof(axes: Any, roof: Roof, left: float, right: float, line: str) -> None:
    ridge = roof.peak / roof.bandwidth
    xs = sorted([left, ridge, right])
    cores = "one core" if roof.threads == 1 else f"{roof.threads} cores"
    axes.plot(
        xs,
        [roof.attainable(x) / _GIGA for x in xs],
        color="#404040",
        linestyle=line,
        linewidth=2,
        label=(
            f"ceiling, {cores}: {roof.peak / _GIGA:.0f} GFLOP/s, {roof.bandwidth / _GIGA:.0f} GB/s"
        ),
    )


def _passes(layer: LayerWork) -> Work:
    """Forward and backward: what a profile times of a layer; the update is the optimizer's."""
    return add_work([layer.forward, layer.backward])


def _layer_points(document: LimitsDocument, roof: Roof) -> List[Tuple[float, float]]:
    """(operations a byte, attainable GFLOP/s) of each layer that computes and moves something."""
    totals = [_passes(layer) for layer in document.layers]
    found = [work.flops / work.bytes for work in totals if work.flops and work.bytes]
    return [(intensity, roof.attainable(intensity) / _GIGA) for intensity in found]


def _draw_layers(axes: Any, document: LimitsDocument, roof: Roof) -> None:
    points = _layer_points(document, roof)
    if points:
        axes.scatter(
            *zip(*points),
            s=26,
            facecolors="none",
            edgecolors="#808080",
            label="layers, where they could be",
        )
    measured = []
    for floor in layer_floors(document.layers, roof, document.layer_times):
        work = _passes(floor.layer)
        if floor.measured_s and work.flops and work.bytes:
            measured.append((work.flops / work.bytes, work.flops / floor.measured_s / _GIGA))
    if measured:
        axes.scatter(*zip(*measured), s=18, color="#a02060", label="layers, as profiled")


def _draw_steps(axes: Any, document: LimitsDocument) -> None:
    whole: Work = sum_work(document.layers)
    if not whole.bytes:
        return
    for number, step in enumerate(document.steps):
        if not step.step_time_s:
            continue
        rate = whole.flops / summarize(step.step_time_s).median / _GIGA
        if rate <= 0 or not math.isfinite(rate):
            continue
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
