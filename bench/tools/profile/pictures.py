"""Pictures of a profile, PNG and SVG, and its Chrome trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List

from ...report.pictures import PICTURE_STYLE, plt, save_picture
from ...verdict.statistics import summarize
from .document import LimitsDocument, ProfileDocument, layer_rows, select_rows
from .work import Roof, create_roofs, sum_work

SHOWN_LAYERS = 30
_LONGEST_NAME = 34
_GIGA = 1e9
_MARKERS = "*^Dsv"
_MICROSECONDS = 1e6
_FORWARD, _BACKWARD = 1, 2  # threads of the trace
_PASSES = {
    _FORWARD: "forward, as it ran in the step",
    _BACKWARD: "backward, each layer alone, in reverse order",
}
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
    return f"{document.model}, {document.describe_batch()}"


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
        # forward and backward, which a profile times; the update is the optimizer's
        found = [
            (row, row.work.forward + row.work.backward)
            for row in layer_rows(document, limits)
            if row.work is not None
        ]
        measured = [
            (work.intensity, work.flops / row.total_s / _GIGA)
            for row, work in found
            if work.intensity and row.total_s
        ]
        possible = [
            (work.intensity, roofs[-1].attainable(work.intensity) / _GIGA)
            for _, work in found
            if work.intensity
        ]
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


def _draw_steps(axes: Any, limits: LimitsDocument) -> None:
    whole = sum_work(limits.layers)
    for number, step in enumerate(limits.steps):
        if not (whole.intensity and step.step_time_s):
            continue
        rate = whole.flops / summarize(step.step_time_s).median / _GIGA
        axes.scatter(
            [whole.intensity],
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
    begin = min((start for row in rows for start in row.layer.starts_s), default=0.0)
    spans = [
        (_FORWARD, row.layer, start - begin, span)
        for row in rows
        for start, span in zip(row.layer.starts_s, row.layer.spans_s)
    ]
    end = max((start + span for _, _, start, span in spans), default=0.0)
    for row in reversed(rows):
        if row.backward is not None:
            spans.append((_BACKWARD, row.layer, end, row.backward_s))
            end += row.backward_s
    events: List[Dict[str, Any]] = []
    for thread, name in _PASSES.items():
        about = {"name": f"{document.model}: {name}"}
        events.append({"name": "thread_name", "ph": "M", "pid": 1, "tid": thread, "args": about})
    for thread, layer, start, span in spans:
        event = {"name": layer.name, "cat": _PASSES[thread].split(",")[0], "ph": "X", "pid": 1}
        about = layer.model_dump(include={"kind", "output_shape", "num_params"})
        times = {"ts": start * _MICROSECONDS, "dur": span * _MICROSECONDS}
        events.append({**event, **times, "tid": thread, "args": about})
    return {"traceEvents": events, "displayTimeUnit": "ms"}
