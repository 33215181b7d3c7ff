"""Pictures of stored runs, PNG and SVG, readable in grayscale."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from matplotlib.ticker import MaxNLocator

from ..record.run import BlockEvent, EvalEvent, ParametersEvent, RunRecord
from .style import PICTURE_STYLE, choose_style, plt, save_picture


class Series(NamedTuple):
    """One contender of one record, with the name it is drawn under."""

    label: str
    record: RunRecord
    name: str

    def blocks(self) -> List[BlockEvent]:
        return self.record.of_kind(BlockEvent, self.name)

    def losses(self) -> Dict[int, float]:
        """By step; a run that was resumed begins where the one before it ended."""
        return {
            step: float("nan") if loss is None else loss
            for block in self.blocks()
            for step, loss in enumerate(block.losses, start=block.first_step)
        }

    def evals(self) -> List[EvalEvent]:
        return self.record.of_kind(EvalEvent, self.name)


def list_series(records: List[RunRecord]) -> List[Series]:
    """All contenders of all records; the run's folder is added where there is more than one."""
    many = len(records) > 1
    return [
        Series(f"{_run_name(record)}: {name}" if many else name, record, name)
        for record in records
        for name in record.contender_names()
    ]


def _run_name(record: RunRecord) -> str:
    return record.folder.name if record.folder else record.document.run_id


def render_pictures(records: List[RunRecord], folder: Path) -> List[Path]:
    """Draw every picture into `folder`; the paths written. A record cut short is drawn so far."""
    series = list_series(records)
    written: List[Path] = []
    with plt.rc_context(PICTURE_STYLE):
        for name, draw in _PICTURES.items():
            figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
            draw(axes, series)
            written += save_picture(figure, folder, name)
        figure, grid = plt.subplots(3, 2, figsize=(14, 13), layout="constrained")
        for axes, draw in zip(grid.flat, [*_PICTURES.values(), draw_facts]):
            draw(axes, series)
        figure.suptitle(_title(records), fontsize=14)
        written += save_picture(figure, folder, "overview")
    return written


def _title(records: List[RunRecord]) -> str:
    workload = records[0].document.workload
    data = Path(workload.data).name
    return f"{workload.model} on {data}, batch {workload.batch_size}, {workload.image_size} px"


def draw_loss(axes: Any, series: List[Series]) -> None:
    """Training loss of every step."""
    axes.set(title="Training loss", xlabel="step", ylabel="loss (nats)")
    for index, one in enumerate(series):
        losses = one.losses()
        style = choose_style(index, len(losses) < 2)
        axes.plot(list(losses), list(losses.values()), label=one.label, **style)
    _legend(axes)


def draw_loss_difference(axes: Any, series: List[Series]) -> None:
    """Absolute difference of the losses to those of the run's first contender, log scale.

    Runs of one contender each are set against the first run's. Steps without a finite difference,
    as of a training that diverged, are not drawn and said to be there.
    """
    axes.set(title="Loss difference", xlabel="step", ylabel="absolute difference (nats)")
    if len(series) < 2:
        _say(axes, "one contender: nothing to compare")
        return
    shown = False
    not_finite: List[int] = []  # first such step of each pair
    counts: List[int] = []  # steps of each pair
    for index, one in enumerate(series[1:], start=1):
        reference = _reference(one, series)
        if reference is None:
            continue
        ours, theirs = reference.losses(), one.losses()
        common = [step for step in ours if step in theirs]
        counts.append(len(common))
        pairs = [(step, ours[step], theirs[step]) for step in common]
        steps = [(step, abs(a - b)) for step, a, b in pairs if a != b]
        not_finite += [step for step, size in steps if not math.isfinite(size)][:1]
        steps = [(step, size) for step, size in steps if math.isfinite(size)]
        if steps:
            shown = True
            # equal differences are nested: the later, the smaller
            size = 4 + 2 * (len(series) - index)
            style = {**choose_style(index, True), "linestyle": "none", "markersize": size}
            axes.plot(*zip(*steps), label=f"{one.label} against {reference.name}", **style)
    all_steps = {step for one in series for step in one.losses()} or {0}
    axes.set_xlim(min(all_steps) - 1, max(max(all_steps) + 1, 2))
    if shown:
        axes.set_yscale("log")
        not_drawn = "bitwise equal, or not finite" if not_finite else "bitwise equal"
        axes.set_title(f"Loss difference (steps not drawn: {not_drawn})")
        _legend(axes)
    elif not_finite:
        _say(axes, f"bitwise equal up to step {min(not_finite)}, where losses stop being finite")
    else:
        least = min(counts, default=0)
        _say(axes, f"bitwise equal in all {least} steps" if least else "no common steps")


def _reference(one: Series, series: List[Series]) -> Optional[Series]:
    """What a series' losses are compared with; None for the first contender of a run of several."""
    own = [other for other in series if other.record is one.record]
    if len(own) == 1:
        return series[0]
    return None if own[0].name == one.name else own[0]


def draw_accuracy(axes: Any, series: List[Series]) -> None:
    """Validation accuracy of every epoch."""
    axes.set(title="Validation accuracy", xlabel="epoch", ylabel="accuracy (%)")
    for index, one in enumerate(series):
        points = [(e.epoch + 1, e.accuracy * 100) for e in one.evals()]
        if points:
            axes.plot(*zip(*points), label=one.label, **choose_style(index, True))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes)


def draw_step_times(axes: Any, series: List[Series]) -> None:
    """Each block's step time where it stands in the run, and the distribution at the right."""
    axes.set(title="Train step time", xlabel="time in the run (s)", ylabel="step time (ms)")
    end = 0.0
    steady: List[List[float]] = []
    for index, one in enumerate(series):
        style = choose_style(index, True)
        blocks = [b for b in one.blocks() if b.kind == "steady"]
        times = [b.duration_s / b.steps * 1e3 for b in blocks]
        starts = [b.started_s for b in blocks]
        axes.plot(
            starts,
            times,
            linestyle="none",
            marker=style["marker"],
            markersize=5,
            color=style["color"],
            label=f"{one.label} (a mark a block)",
        )
        steady.append(times)
        end = max([end, *starts])
    shown = [(index, times) for index, times in enumerate(steady) if times]
    if not shown:
        _say(axes, "no steady blocks")
        return
    width = max(end, 1.0) * 0.05
    positions = [end + width * (2 + 2 * rank) for rank, _ in enumerate(shown)]
    boxes = axes.boxplot(
        [times for _, times in shown],
        positions=positions,
        widths=width,
        manage_ticks=False,
        patch_artist=True,
    )
    for (index, _), box in zip(shown, boxes["boxes"]):
        box.set_facecolor(choose_style(index, False)["color"])
        box.set_alpha(0.6)
    for (index, times), position in zip(shown if len(series) < 3 else [], positions):
        axes.annotate(
            series[index].name,
            (position, max(times)),
            textcoords="offset points",
            xytext=(0, 6),
            ha="center",
            fontsize=8,
        )
    axes.axvline(end + width * 0.8, color="grey", linewidth=0.8)
    axes.margins(y=0.2)
    _legend(axes)


def draw_parameter_difference(axes: Any, series: List[Series]) -> None:
    """Difference of the parameters after every epoch: largest and relative, or largest alone.

    The largest alone of several contenders, each in its own style.
    """
    axes.set(title="Parameter difference", xlabel="epoch", ylabel="difference after the epoch")
    pairs = [
        (index, one, found)
        for index, one in enumerate(series)
        for found in [one.record.of_kind(ParametersEvent, one.name)]
        if found
    ]
    events = [event for _, _, found in pairs for event in found]
    if not events:
        _say(axes, "no two contenders of one run")
        return
    curves = []
    for index, one, found in pairs:
        measures = {"max_abs": "largest element", "relative_l2": "relative L2 norm"}
        if len(pairs) > 1:
            measures = {"max_abs": f"{one.label}: largest element"}
        for shift, (measure, label) in enumerate(measures.items()):
            values = [(e.epoch + 1, getattr(e, measure)) for e in found if getattr(e, measure)]
            curves.append((index + shift, label, values))
    drawn = [curve for curve in curves if curve[2]]
    for index, label, values in drawn:
        axes.plot(*zip(*values), label=label, **choose_style(index, True))
    axes.set_xlim(0.5, max(e.epoch for e in events) + 1.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if drawn:
        axes.set_yscale("log")
        axes.set_title("Parameter difference (epochs not drawn: bitwise equal)")
        _legend(axes)
    else:
        epochs = len({(id(one.record), e.epoch) for _, one, found in pairs for e in found})
        _say(axes, f"bitwise equal after each of {epochs} epochs")


def draw_facts(axes: Any, series: List[Series]) -> None:
    """What the run was, in words, for the overview's last place."""
    axes.axis("off")
    lines = []
    for record in {id(one.record): one.record for one in series}.values():
        document = record.document
        cpu = document.environment_start.get("cpu", {})
        lines += [
            f"run: {document.run_id} ({document.status})",
            "contenders:",
            *(f"    {c.name} ({c.mode}, {Path(c.runtime).name})" for c in document.contenders),
            f"{document.workload.epochs} epochs of {document.steps_per_epoch} steps, "
            f"seed {document.workload.seed}",
            f"{document.train_samples} training and {document.val_samples} validation samples",
            f"processor: {cpu.get('model', 'unknown')}, {cpu.get('cores', '?')} cores",
            "",
        ]
    axes.text(0.02, 0.95, "\n".join(lines), va="top", fontsize=11, transform=axes.transAxes)


def _say(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, fontsize=12)
    axes.set_yticks([])


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


_PICTURES: Dict[str, Callable[[Any, List[Series]], None]] = {
    "loss": draw_loss,
    "loss_difference": draw_loss_difference,
    "accuracy": draw_accuracy,
    "step_times": draw_step_times,
    "parameter_difference": draw_parameter_difference,
}
