"""The learning rate as a function of the step: the record keeps it and the pictures show it.

In the worker OneFlow's schedulers set the rate. These are their formulas, tested against them.
"""

from __future__ import annotations

import math

from ..config import SCALE_LR_BATCH, Workload


def base_learning_rate(workload: Workload) -> float:
    """`lr`, or `lr` * batch_size / 128 with `scale_lr` (linear scaling rule)."""
    scale = workload.batch_size / SCALE_LR_BATCH if workload.scale_lr else 1.0
    return workload.lr * scale


def warmup_steps(workload: Workload, steps_per_epoch: int) -> int:
    """Steps over which the rate rises from 0."""
    return round(workload.warmup_epochs * steps_per_epoch)


def learning_rate(workload: Workload, steps_per_epoch: int, step: int) -> float:
    """Learning rate of `step` (from 0).

    step: lr * gamma ** (step // step_size); multistep: lr * gamma ** (milestones passed);
    cosine: lr / 2 * (1 + cos(pi * step / steps of the run)); constant: lr. During the warm-up the
    rate rises linearly from 0 to the schedule's value at the end of the warm-up.
    """
    warmup = warmup_steps(workload, steps_per_epoch)
    if step < warmup:
        return _scheduled(workload, steps_per_epoch, warmup) * step / warmup
    return _scheduled(workload, steps_per_epoch, step)


def _scheduled(workload: Workload, steps_per_epoch: int, step: int) -> float:
    lr = base_learning_rate(workload)
    if workload.schedule == "step":
        return float(lr * workload.lr_gamma ** (step // (workload.lr_step * steps_per_epoch)))
    if workload.schedule == "multistep":
        passed = sum(step >= epoch * steps_per_epoch for epoch in workload.lr_milestones)
        return float(lr * workload.lr_gamma**passed)
    if workload.schedule == "cosine":
        total = workload.epochs * steps_per_epoch
        return lr * 0.5 * (1 + math.cos(math.pi * min(step, total) / total))
    return lr
