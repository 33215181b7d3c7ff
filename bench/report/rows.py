"""The rows of a report, by their labels, and how each of their numbers is measured."""

from __future__ import annotations

import math
from typing import Dict, Mapping, Optional

from ..verdict.estimate import MEDIAN, QUICKEST_QUARTER
from ..verdict.summary import SpeedSummary
from .comparison import Comparison, ContenderSummary
from .format import (
    MISSING,
    format_break_even,
    format_exact,
    format_finite,
    format_interval,
    format_mib,
    format_ms,
    format_number,
    format_percent,
    format_sequential,
    format_summary_ms,
    format_yes,
)

SHOWN_EPOCHS = 5  # the last ones; the picture has them all
LABEL_ACCURACY = "accuracy of label "  # begins the name of a metric of several labels
Rows = Dict[str, str]  # label -> value with unit
SUMMARISED_BY = {  # of a process's blocks
    QUICKEST_QUARTER: "mean of the fastest 25 %",
    MEDIAN: "median of all blocks",
}


def list_measurements(summary: ContenderSummary) -> Rows:
    """The measurements of one contender."""
    accuracy = " ".join(
        "NaN" if x is None else f"{x * 100:.1f}" for x in summary.accuracy[-SHOWN_EPOCHS:]
    )
    if len(summary.accuracy) > SHOWN_EPOCHS:
        accuracy = "... " + accuracy
    best, finite = MISSING, [x for x in summary.accuracy if x is not None]
    if summary.best_epoch is not None and finite:
        best = f"{100 * max(finite):.1f} (epoch {summary.best_epoch})"
    shown = [format_finite(x, ".4f") for x in (summary.first_loss, summary.last_loss)]
    return {
        "train steps": str(summary.steps),
        "loss, first to last": " to ".join(dict.fromkeys(shown)) if summary.steps else MISSING,
        "accuracy by epoch, %": accuracy or MISSING,
        "best accuracy, %": best,
        "train accuracy, %": format_number(summary.train_accuracy, ".1f", 100),
        "teacher accuracy, %": format_number(summary.teacher_accuracy, ".1f", 100),
        **_list_metrics(summary.metrics),
        "train step, ms": format_summary_ms(summary.train_step_time_s),
        "validation step, ms": format_summary_ms(summary.eval_step_time_s),
        "train images per second": format_number(summary.images_per_s, ".1f"),
        "compile, s": format_number(summary.compile_s, ".2f"),
        "first step, ms": format_ms(summary.first_step_s),
        "time to first step, s": format_number(summary.time_to_first_step_s, ".2f"),
        "peak memory, MiB": format_mib(summary.peak_rss_bytes),
    }


def _list_metrics(metrics: Mapping[str, Optional[float]]) -> Rows:
    """Metrics of several labels in percent, as accuracy is; those of the user's own as they are."""
    if not any(name.startswith(LABEL_ACCURACY) for name in metrics):
        return {name: format_finite(value, ".4g") for name, value in metrics.items()}
    return {f"{name}, %": format_finite(value, ".1f", 100) for name, value in metrics.items()}


def list_parity(comparison: Comparison) -> Rows:
    """The differences of the two trainings."""
    loss = comparison.loss
    batches = format_yes(comparison.same_batches)
    if comparison.same_batches is not None:
        batches += f" (compared by {comparison.batches_by})"
    rows = {
        "same initial weights": format_yes(comparison.same_weights),
        "same batches": batches,
        "largest loss difference": format_exact(loss.max_abs if loss else None),
        "smallest loss difference": format_exact(loss.min_abs if loss else None),
        "mean loss difference": format_exact(loss.mean_abs if loss else None),
        "correlation of losses": format_number(loss.correlation if loss else None, ".12g"),
        "correlation of accuracies": format_number(comparison.accuracy_correlation, ".12g"),
        "accuracy difference, points": format_number(comparison.accuracy_difference, "+.2f", 100),
    }
    events = comparison.parameter_difference
    if len(events) > 1:
        sizes = [math.inf if e.max_abs is None else e.max_abs for e in events]
        low, high = (format_exact(None if math.isinf(x) else x) for x in (min(sizes), max(sizes)))
        rows["parameter difference by epoch"] = low if low == high else f"{low} to {high}"
    for event in events[-1:]:
        value = format_exact(event.max_abs)
        if event.max_abs:
            value += f" largest, {format_exact(event.relative_l2)} relative"
        rows[f"parameter difference, epoch {event.epoch + 1}"] = value
    return rows


def list_speed(comparison: Comparison) -> Rows:
    """Ratios of times, and the evidence behind the speed verdict."""
    ratio, speed = comparison.speedup, comparison.speed
    effect = ratio.smallest_effect if ratio else None
    rows = {
        "speedup, training": format_interval(ratio),
        "speedup, validation": format_interval(comparison.eval_speedup),
        "smallest detectable difference": format_percent(effect, 1),
        "compilation pays for itself": format_break_even(comparison.break_even, comparison.speedup),
    }
    return rows if speed is None else {**rows, **_list_speed_phase(speed)}


def _list_speed_phase(speed: SpeedSummary) -> Rows:
    """The phase's estimates, its size and its costs."""
    judgement = speed.judgement
    rows = {
        "control: the baseline against itself": format_interval(judgement.control),
        "sequential interval, 99 %": format_sequential(judgement.speedup),
        "secondary estimate: mean of all blocks": format_interval(speed.mean),
        "secondary estimate: processor time": format_interval(speed.cpu),
        "each process is summarised by": SUMMARISED_BY[judgement.process_estimate],
        "spread of identical processes": format_percent(judgement.process_spread),
        "processes of each side": str(judgement.replicates),
        "interim analyses": str(judgement.analyses),
        "blocks": str(speed.blocks),
        "steps of a block": str(speed.block_steps),
        "duration, s": f"{speed.duration_s:.0f}",
        "secondary estimate: instructions": format_interval(speed.instructions),
    }
    for name in ("baseline", "contender"):
        role = speed.roles[name]
        rows[f"warm-up steps of the {name}"] = f"{role.warmup_steps:.0f} ({role.warmup_s:.2f} s)"
        if name in speed.energy_per_step_j:
            rows[f"energy of the {name}, J a step"] = f"{speed.energy_per_step_j[name]:.3g}"
    rows["loader alone, ms a step"] = format_ms(speed.roles["baseline"].loader_step_time_s, 2)
    if speed.controller_share is not None:
        share = format_percent(speed.controller_share)
        rows["processor time of the controller"] = f"{share} of the duration"
    return rows


# by the beginning of a label, in a sentence or two
MEASURED = {
    "train steps": "Updates of the weights that the record holds.",
    "loss, first to last": "Loss of the first and the last train step; cross entropy is in nats.",
    "accuracy by epoch": "Share of the validation images whose largest logit is the label's. "
    "Each epoch ends with a validation; the last five are shown.",
    "best accuracy": "Highest validation accuracy of an epoch, the first where several are equal.",
    "train accuracy": "Share of right answers on training images without augmentation, after the "
    "training, on as many images as the validation split has.",
    "teacher accuracy": "Share of the validation images that the teacher answers right.",
    "train step, ms": "Wall time of a block of steps over its steps. A block lies between two full "
    "synchronisations. The median of the steady blocks has a 95 % interval from a bootstrap.",
    "validation step, ms": "Wall time of a validation pass over its steps; median of the epochs.",
    "train images per second": "Images of a batch over the median time of a train step.",
    "compile, s": "Wall time that OneFlow takes to compile the training and the validation graph. "
    "Eager mode compiles nothing.",
    "first step, ms": "Wall time of the first train step, after compiling.",
    "time to first step, s": "Sum of import, build, compile and first step.",
    "peak memory, MiB": "Largest resident set of the contender's process, as the kernel tells it.",
    "speedup, training": "Time of the baseline's train step over that of the contender. Fresh "
    "processes of both take turns block by block; the interval comes from their spread.",
    "speedup, validation": "Ratio of the validation times, epoch by epoch, in one process of each.",
    "smallest detectable difference": "A difference of this size would have been detected with a "
    "probability of 90 %.",
    "compilation pays for itself": "Compile time over the time that each step gains. The interval "
    "draws from the distributions of both.",
    "control": "Two sets of processes of the same program take the same turns. A ratio away from 1 "
    "shows the bias of the machine and the method.",
    "sequential interval": "99 % interval over all interim analyses and all contenders together. "
    "A verdict of faster or slower needs it to exclude 1.",
    "secondary estimate: mean": "The same ratio from the mean of all blocks.",
    "secondary estimate: processor": "The same ratio from processor seconds in place of wall time.",
    "secondary estimate: instructions": "The same ratio from retired instructions.",
    "each process is summarised by": "The summary with the smaller standard error is chosen.",
    "spread of identical processes": "Relative standard deviation of one program's processes.",
    "processes of each side": "Fresh processes of each side in the speed phase.",
    "interim analyses": "Times that the run looked at its data to decide whether it can stop.",
    "blocks": "Timed blocks of all three roles: baseline, contender and control.",
    "steps of a block": "Train steps between two synchronisations, chosen by the run.",
    "duration, s": "From the start of the speed phase to the end of its last block.",
    "warm-up steps": "Steps before a change point after which the times of a process are steady. "
    "They are not scored.",
    "energy of": "Energy of the processor package by its RAPL counter, over the scored steps.",
    "loader alone": "Time for a batch of the loader without any training.",
    "processor time of the controller": "Processor time of this program over the speed phase.",
    "same initial weights": "Digests of all weights before the first step are compared.",
    "same batches": "Digests of the images and labels of each block are compared.",
    "largest loss difference": "Largest absolute difference of the losses of a step.",
    "smallest loss difference": "Smallest absolute difference of the losses of a step.",
    "mean loss difference": "Mean absolute difference of the losses of a step.",
    "correlation of losses": "Pearson's correlation of both loss curves.",
    "correlation of accuracies": "Pearson's correlation of both accuracy curves, by epochs.",
    "accuracy difference": "Contender minus baseline after the last common epoch.",
    "parameter difference": "Of all weights after the epoch: the largest absolute difference, and "
    " the norm of the difference over the norm of the baseline's weights.",
}


def explain(label: str) -> str:
    """The explanation of a row; empty where the label says it all."""
    return next((text for key, text in MEASURED.items() if label.startswith(key)), "")
