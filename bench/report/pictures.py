"""Pictures of stored runs as PNG and SVG, readable in grayscale, and the style of all pictures."""

from __future__ import annotations

import io
import math
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, List, Sequence, Union

import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: E402
from matplotlib.text import Text  # noqa: E402
from matplotlib.ticker import MaxNLocator  # noqa: E402

from ..record.events import ParametersEvent, StepParametersEvent  # noqa: E402
from ..record.run import RunRecord, replace_atomically  # noqa: E402
from .curves import COLUMNS, Series, choose_style, describe_runs, list_series, thin_line, thin_marks  # noqa: E402

PICTURE_STYLE = {
    "svg.hashsalt": "oneflow-bench",
    "font.size": 10,
    "axes.grid": True,
    "axes.titley": 1.0,  # else every drawing lays out all texts to find a place for the title
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
DPI = 130
GAP = 20  # pixels between the pictures of an overview
SHORT_NAME = 8  # letters; longer names would overlap


def save_picture(figure: Any, folder: Path, name: str) -> List[Path]:
    """Close the figure and write `name`.png and `name`.svg in one move each; the paths written."""
    png, svg = paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with replace_atomically(png) as stream:
        _print_png(figure, stream)
    figure.set_layout_engine("none")  # it was found; `savefig` would lay out and draw again
    with replace_atomically(svg) as stream:
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None})
    return paths


def _print_png(figure: Any, stream: BinaryIO) -> None:
    """Texts are drawn as they are: a name may hold dollar signs, and bytes that are not UTF-8."""
    for text in figure.findobj(Text):
        written = text.get_text()  # a tick of a log scale has none yet, or mathematics
        text.set_parse_math("$" not in written or "$\\mathdefault{" in written)
        text.set_text(written.encode(errors="backslashreplace").decode())
    plt.close(figure)
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(stream, pil_kwargs={"compress_level": 3})


def choose_pictures(series: List[Series]) -> Dict[str, Callable[[Any, List[Series]], None]]:
    """The pictures that have something to show, by their names."""
    chosen = dict(PICTURES)
    for name, draw in PICTURES.items():
        values = draw.keywords["values"] if isinstance(draw, partial) else "label"
        if not any(getattr(one, values) for one in series):
            del chosen[name]
    if len(series) < 2:
        del chosen["loss_difference"]
    if not any(one.record.of_kind(ParametersEvent) for one in series):
        del chosen["parameter_difference"]
    return chosen


def render_pictures(records: List[RunRecord], folder: Path) -> List[Path]:
    """Draw the pictures that have something to show into `folder`; the paths written.

    `overview.png` has them side by side, and the run in words. A partial record is drawn too. One
    contender has no differences.
    """
    series = list_series(records)
    written: List[Path] = []
    facts, overview = io.BytesIO(), folder / "overview.png"
    with plt.rc_context(PICTURE_STYLE):
        for name, draw in choose_pictures(series).items():
            written += save_picture(_draw(draw, series), folder, name)
        _print_png(_draw(draw_facts, series), facts)
    with replace_atomically(overview) as stream:
        pictures = (path for path in written if path.suffix == ".png")
        _join([*pictures, facts]).save(stream, "PNG", compress_level=3)
    return [*written, overview]


def _draw(draw: Callable[[Any, List[Series]], None], series: List[Series]) -> Any:
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    draw(axes, series)
    return figure


def _join(pictures: Sequence[Union[Path, BinaryIO]]) -> Image.Image:
    """Pictures of one size in two columns. To draw all curves once more would take as long."""
    tiles = [Image.open(one) for one in pictures]
    width, height = (side + GAP for side in tiles[0].size)
    whole = Image.new("RGB", (2 * width, -(-len(tiles) // 2) * height), "white")
    for place, tile in enumerate(tiles):
        whole.paste(tile, (place % 2 * width, place // 2 * height))
    return whole


def draw_loss(axes: Any, series: List[Series]) -> None:
    """Training loss of every step. The title says from which step on one is not finite."""
    axes.set(title="Training loss", xlabel="step", ylabel=f"loss{series[0].unit}")
    for index, one in enumerate(series):
        style = choose_style(index, len(one.losses) < 2)
        if len(one.infinite_steps) < len(one.steps):
            _plot(axes, *thin_line(one.steps, one.losses), one.label, style)
    if infinite := [step for one in series for step in one.infinite_steps[:1]]:
        axes.set_title(f"Training loss (infinite or not a number, first in step {min(infinite)})")
        if not axes.lines:
            _say(axes, "no loss is finite")
    _legend(axes)


def draw_loss_difference(axes: Any, series: List[Series]) -> None:
    """Absolute difference of the losses to those of the run's first contender, log scale.

    Runs of one contender each are set against the first run's. Steps without a finite difference,
    as of a training that diverged, have no mark, and the title says so.
    """
    axes.set(title="Loss difference", xlabel="step", ylabel=f"absolute difference{series[0].unit}")
    counts: List[int] = []  # common steps of each pair
    marks: List[float] = []
    infinite: List[int] = []  # the first such step of each pair
    for index, one in enumerate(series):
        reference = one.find_reference(series) if index else None
        if reference is None:
            continue
        common, sizes = one.subtract(reference)
        counts.append(len(common))
        infinite += common[~np.isfinite(sizes)][:1].tolist()
        marked = np.isfinite(sizes) & (sizes > 0)
        shown = thin_marks(common[marked], sizes[marked], log=True)
        marks += shown[1].tolist()
        # equal differences are nested: the later, the smaller
        size = 4 + 2 * (len(series) - index)
        style = {**choose_style(index, True), "linestyle": "none", "markersize": size}
        _plot(axes, *shown, f"{one.label} against {reference.name}", style)
    ends = [one.steps[at] for one in series if len(one.steps) for at in (0, -1)] or [0]
    axes.set_xlim(min(ends) - 1, max(*ends, 1) + 1)
    if marks:
        unmarked = "bitwise equal or not finite" if infinite else "bitwise equal"
        axes.set_title(f"Loss difference (steps without a mark are {unmarked})")
        _scale_by_decades(axes, marks)
        _legend(axes)
    elif infinite:
        _say(axes, f"bitwise equal up to step {min(infinite)}, where losses stop being finite")
    elif not counts:
        _say(axes, "one contender: nothing to compare")
    else:
        equal = f"bitwise equal in all {min(counts)} steps"
        _say(axes, equal if min(counts) else "no common steps")


def draw_epochs(
    axes: Any, series: List[Series], title: str, unit: str, values: str, scale: float = 1.0
) -> None:
    """Values of every epoch; `values` is the attribute of a series that has them by epoch."""
    axes.set(title=title, xlabel="epoch", ylabel=unit)
    infinite: List[int] = []
    for index, one in enumerate(series):
        found: Dict[int, float] = getattr(one, values)
        heights = [scale * value for value in found.values()]
        _plot(axes, list(found), heights, one.label, choose_style(index, True))
        infinite += [epoch for epoch, height in zip(found, heights) if not math.isfinite(height)]
    if infinite:
        axes.set_title(f"{title} (not finite, first in epoch {min(infinite)})")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _legend(axes)


def draw_step_times(axes: Any, series: List[Series]) -> None:
    """The step time of each block over the time, slow ones ringed; at the right distributions."""
    axes.set(xlabel="time since the start (s)", ylabel="step time (ms)")
    axes.set_title("Train step time (one mark per block of steps)")
    blocks = [one.steady_blocks for one in series]
    times = [np.array([b.step_time_s * 1e3 for b in each]) for each in blocks]
    shown = [index for index, each in enumerate(times) if len(each)]
    if not shown:
        _say(axes, "no steady blocks")
        return
    for index in shown:
        style = {**choose_style(index, True), "linestyle": "none", "markersize": 5}
        starts = np.array([block.started_s for block in blocks[index]])
        _plot(axes, *thin_marks(starts, times[index], log=False), series[index].label, style)
    marks = [(b.started_s, b.step_time_s * 1e3) for s in series for b in s.slow_blocks]
    slow = np.array(marks).reshape(-1, 2).T
    ring = {**choose_style(len(series), True), "linestyle": "none", "fillstyle": "none"}
    _plot(
        axes, *thin_marks(slow[0], slow[1], log=False), f"over {Series.SLOW:g} of the median", ring
    )
    end = max(block.started_s for each in blocks for block in each)
    width = max(end, 1.0) * 0.05
    positions = [end + width * (2 + 2 * rank) for rank, _ in enumerate(shown)]
    ticks = [tick for tick in MaxNLocator(6).tick_values(0, end) if 0 <= tick <= end]
    boxes = axes.boxplot(
        [times[index] for index in shown],
        positions=positions,
        widths=width,
        manage_ticks=False,
        patch_artist=True,
        medianprops={"color": "black"},
    )
    for index, box in zip(shown, boxes["boxes"]):
        box.set_facecolor(choose_style(index, False)["color"])
        box.set_alpha(0.6)
    names = [series[index].name for index in shown]
    if max(map(len, names)) > SHORT_NAME or len(names) > 2:
        positions, names = [(positions[0] + positions[-1]) / 2], ["all blocks"]
    axes.set_xticks([*ticks, *positions], [*(f"{tick:g}" for tick in ticks), *names])
    axes.axvline(end + width * 0.8, color="grey", linewidth=0.8)
    axes.margins(y=0.2)
    _legend(axes)


def draw_parameter_difference(axes: Any, series: List[Series]) -> None:
    """Difference of the parameters after every epoch, or every step where recorded, log scale.

    Of one contender the largest element and the relative norm, of several the largest alone.
    """
    by_step = any(one.record.of_kind(StepParametersEvent) for one in series)
    kind, place = (StepParametersEvent, "step") if by_step else (ParametersEvent, "epoch")
    axes.set(title="Parameter difference", xlabel=place, ylabel=f"difference after the {place}")
    found = enumerate(one.record.of_kind(kind, one.name) for one in series)
    pairs = {index: events for index, events in found if events}
    marks: List[float] = []
    for index, events in pairs.items():
        measures = {"max_abs": "largest element", "relative_l2": "relative L2 norm"}
        if len(pairs) > 1:
            measures = {"max_abs": f"{series[index].label}: largest element"}
        for shift, (measure, label) in enumerate(measures.items()):
            shown = {getattr(e, place) + 1: size for e in events if (size := getattr(e, measure))}
            marks += shown.values()
            style = choose_style(index + shift, not by_step or len(shown) == 1)
            _plot(axes, list(shown), list(shown.values()), label, style)
    places = {(i, getattr(e, place)) for i, events in pairs.items() for e in events}
    axes.set_xlim(0.5, max(at for _, at in places) + 1.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if marks:
        axes.set_title(f"Parameter difference ({place}s without a mark are bitwise equal)")
        _scale_by_decades(axes, marks)
        _legend(axes)
    else:
        _say(axes, f"bitwise equal after each of {len({at for _, at in places})} {place}s")


def draw_facts(axes: Any, series: List[Series]) -> None:
    """The runs in words."""
    axes.axis("off")
    text = "\n".join(describe_runs(series))
    axes.text(0.02, 0.95, text, va="top", fontsize=11, transform=axes.transAxes)


def _plot(axes: Any, x: Any, y: Any, label: str, style: Dict[str, Any]) -> None:
    """Many marks are one image in an SVG."""
    if len(x):
        many = style["linestyle"] == "none" and len(x) > COLUMNS
        axes.plot(x, y, label=label, rasterized=many, **style)


def _scale_by_decades(axes: Any, values: Sequence[float]) -> None:
    """A log scale of whole decades: shorter ones may have a single labelled tick."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    axes.set_yscale("log", subs=[])  # no minor ticks, which cost more than the curves
    axes.set_ylim(10.0**low / 1.2, 10.0 ** max(high, low + 1) * 1.2)


def _say(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=12)
    axes.set_yticks([])


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


PICTURES: Dict[str, Callable[[Any, List[Series]], None]] = {
    "loss": draw_loss,
    "loss_difference": draw_loss_difference,
    "accuracy": partial(draw_epochs, title="Validation accuracy", unit="accuracy (%)",
                        values="accuracies", scale=100),
    "step_times": draw_step_times,
    "train_epoch_times": partial(draw_epochs, title="Train epoch time", unit="time (s)",
                                 values="train_epoch_times_s"),
    "eval_epoch_times": partial(draw_epochs, title="Eval epoch time", unit="time (s)",
                                values="eval_epoch_times_s"),
    "parameter_difference": draw_parameter_difference,
}  # fmt: skip
