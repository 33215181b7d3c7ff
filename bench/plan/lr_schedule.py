"""The learning rate that a schedule begins with, and how long it rises to it."""

from __future__ import annotations

from ..config import SCALE_LR_BATCH, Workload


def base_learning_rate(workload: Workload) -> float:
    """`lr`, or `lr` * batch_size / 128 with `scale_lr` (linear scaling rule)."""
    scale = workload.batch_size / SCALE_LR_BATCH if workload.scale_lr else 1.0
    return workload.lr * scale


def warmup_steps(workload: Workload, steps_per_epoch: int) -> int:
    """Steps N over which the rate rises, from 1 / N of it at the first."""
    return round(workload.warmup_epochs * steps_per_epoch)
