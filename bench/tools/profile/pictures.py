"""Pictures of a profile, PNG and SVG, and its Chrome trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Tuple

from ...report.pictures import PICTURE_STYLE, plt, save_picture
from ...verdict.statistics import summarize
from .document import (
    LayerProfile,
    LimitsDocument,
    ProfileDocument,
    find_floors,
    layer_rows,
    select_rows,
)
from .work import Roof, add_work, create_roofs, sum_work

SHOWN_LAYERS = 30
_LONGEST_NAME = 34
_GIGA, _MICROSECONDS = 1e9, 1e6
_MARKERS = "*^Dsv"
_COLOURS = ("#f0a030", "#103060", "#308040", "#a02060", "#606060")
_THREADS = {1: "forward, as it ran in the step", 2: "backward, each layer alone, in reverse order"}


def render_layers(document: ProfileDocument, folder: Path) -> List[Path]:
    """Draw `layers.png` and `layers.svg`: forward and backward of the layers that take most."""
    rows = layer_rows(document)
    shown = select_rows(rows, SHOWN_LAYERS)
    with plt.rc_context({"svg.hashsalt": "oneflow-bench", "font.size": 9}):
        height = 1.6 + 0.26 * len(shown)
        figure, axes = plt.subplots(figsize=(10, height), layout="constrained")
        places = range(len(shown))
        forward = [row.forward.median * 1e3 for row in shown]
        backward = [row.backward.median * 1e3 if row.backward else 0.0 for row in shown]
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
        axes.spines[["top", "right"]].set_visible(False)
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
        measured, possible = _list_points(document, limits, roofs[-1])
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
    document: ProfileDocument, limits: LimitsDocument, roof: Roof
) -> Tuple[List[Tuple[float, float]], List[Tuple[float, float]]]:
    """(operations a byte, GFLOP/s) of the layers that compute and move: measured, attainable.

    Of forward and backward, which a profile times; the update is the optimizer's.
    """
    measured, possible = [], []
    for floor in find_floors(document, limits).values():
        work = add_work([floor.layer.forward, floor.layer.backward])
        if work.flops and work.bytes:
            x = work.flops / work.bytes
            possible.append((x, roof.attainable(x) / _GIGA))
            if floor.measured_s:
                measured.append((x, work.flops / floor.measured_s / _GIGA))
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


def create_trace(document: ProfileDocument) -> Dict[str, Any]:
    """Complete events ("ph": "X") of the Trace Event Format, for chrome://tracing or Perfetto.

    Times are in microseconds from the start of the step. Forward calls stand where they ran in the
    last profiled iteration. Backward times were measured one layer at a time, so they are laid end
    to end behind it.
    """
    rows = layer_rows(document)
    begin = min((s for row in rows for s in row.layer.starts_s), default=0.0)
    events: List[Dict[str, Any]] = [
        {
            "name": "thread_name",
            "ph": "M",
            "pid": 1,
            "tid": thread,
            "args": {"name": f"{document.model}: {name}"},
        }
        for thread, name in _THREADS.items()
    ]
    position = 0.0
    for row in rows:
        for start, span in zip(row.layer.starts_s, row.layer.spans_s):
            events.append(_event(row.layer, "forward", 1, start - begin, span))
            position = max(position, start - begin + span)
    for row in reversed(rows):
        if row.backward is not None:
            events.append(_event(row.layer, "backward", 2, position, row.backward.median))
            position += row.backward.median
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _event(
    layer: LayerProfile, category: str, thread: int, start_s: float, span_s: float
) -> Dict[str, Any]:
    about = {name: getattr(layer, name) for name in ("kind", "output_shape", "num_params")}
    return {
        "name": layer.name,
        "cat": category,
        "ph": "X",
        "ts": start_s * _MICROSECONDS,
        "dur": span_s * _MICROSECONDS,
        "pid": 1,
        "tid": thread,
        "args": about,
    }
