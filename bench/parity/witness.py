"""Witnesses: eager runs that differ from the eager run by no more than rounding may.

What a training run makes of one rounding error is not to be had from a formula: deep models with
batch norm multiply it a thousandfold within a few steps. So it is tried out: every weight is moved
to a neighbouring float32 value, up or down at random. This is Monte Carlo arithmetic (Parker 1997)
with the noise put in at the start.

Two things need more than that, because OneFlow 0.9.0 computes one number of theirs in float32.

Adam's bias correction 1 - beta2^t: the subtraction leaves a relative error of up to
2^-24 / (1 - beta2) in it, and half of that in the update. It is computed so in eager mode, whatever
the type of the weights (the first update is off by 7e-6), and exactly in graphs. A witness of an
Adam run has its learning rate off by as much.

The norm of all gradients, for clipping: squares are added one after another in float32. In eager
mode that is off by 2e-5 for a layer of 262,144 weights, as such a sum is, and in a graph by 2e-4
(benchmarks/update_rounding.py). A witness has its largest norm off by `clip_rounding`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..config import Workload


def adam_rounding(beta2: float) -> float:
    """Largest relative error of Adam's first update from a bias correction in float32."""
    return 2.0**-24 / (1.0 - beta2) / 2.0


def move_learning_rate(workload: Workload, seed: int) -> Workload:
    """The workload of a witness: an Adam's learning rate moved up or down, by the seed's parity."""
    if workload.optimizer not in ("adam", "adamw"):
        return workload
    factor = 1.0 + _sign(seed) * adam_rounding(workload.beta2)
    return workload.model_copy(update={"lr": workload.lr * factor})


def move_optimizer(optimizer: Any, seed: int) -> None:
    """As `move_learning_rate`, on an optimizer of somebody's own that has no schedule."""
    for group in optimizer.param_groups:
        if "betas" in group:
            group["lr"] *= 1.0 + _sign(seed) * adam_rounding(group["betas"][1])
    move_clip_norm(optimizer, seed)


def clip_rounding(elements: int) -> float:
    """Relative error of a norm whose squares are added in float32, the largest tensor of that size.

    Independent roundings give 2^-24 sqrt(n) / 2; a graph's norm was off by five times as much.
    """
    return 8.0 * 2.0**-24 * float(np.sqrt(elements)) / 2.0


def move_clip_norm(optimizer: Any, seed: int) -> None:
    """Move the largest norm that gradients may have, where they are clipped."""
    for group in optimizer.param_groups:
        if group._enable_clip_grad:
            largest = max(parameter.numel() for parameter in group.parameters)
            group["clip_grad_max_norm"] *= 1.0 + _sign(seed) * clip_rounding(largest)


def _sign(seed: int) -> int:
    return 1 if seed % 2 else -1


def move_weights(model: Any, seed: int) -> None:
    """Move every element of every parameter to a neighbouring representable value, up or down."""
    import oneflow as flow

    source = np.random.RandomState(seed)
    moved = {}
    for name, parameter in model.named_parameters():
        value = np.array(parameter.numpy())
        direction = np.where(source.rand(*value.shape) < 0.5, -np.inf, np.inf)
        moved[name] = flow.tensor(np.nextafter(value, direction.astype(value.dtype)))
    model.load_state_dict(moved, strict=False)
