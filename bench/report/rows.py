"""The rows of a report: the measurements of a contender, and the differences of two trainings."""

from __future__ import annotations

import math
from typing import Dict, Mapping, Optional

from .comparison import Comparison, ContenderSummary
from .format import (
    MISSING,
    format_exact,
    format_finite,
    format_mib,
    format_ms,
    format_number,
    format_summary_ms,
    format_yes,
)

SHOWN_EPOCHS = 5  # the last ones; the picture has them all
LABEL_ACCURACY = "accuracy of label "  # begins the name of a metric of several labels
Rows = Dict[str, str]  # label -> value with unit


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
