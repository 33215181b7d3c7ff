"""One tensor that is not bitwise equal: the distance between the modes, and is it rounding?

With r the float64 reference and RMS over the tensor's elements,

    eager error  e = RMS(eager - r)        graph error  g = RMS(graph - r)
    limit        x = M * max(e, p) + FLOOR * 2^-23 * RMS(r)

the tensor is *equal within rounding* if g <= x and *different* if not; `error_ratio` is g / x. M is
2 for tensors of one step, and 4 for tensors after several steps, where chance has more room. p is 0
at first. If a tensor is different, p becomes the largest RMS(perturbed - eager) of some perturbed
runs. The comparison of the compiled model's error with eager's own, from a wider reference, is the
idea of PyTorch's benchmark runner (torchdynamo `same`). The thresholds come from the zoo, see
docs/check.md.

A perturbed run is an eager run that differs from eager mode by no more than rounding may. No
formula tells how a training run amplifies one rounding error: deep models with batch norm multiply
it a thousandfold within a few steps. So every weight is moved to a neighbouring float32 value, up
or down at random. This is Monte Carlo arithmetic (Parker 1997) with the noise put in at the start.

OneFlow 0.9.0 computes two numbers in float32 that need a larger perturbation: Adam's bias
correction (`adam_rounding`) and the norm of all gradients (`clip_rounding`).
"""

from __future__ import annotations

import math
from typing import Any, Optional, Sequence, Tuple

import numpy as np

from ..config import Workload
from . import result as levels
from .result import TensorDifference, Verdict
from .tensors import Entry

MULTIPLIER = 2.0
LATER_MULTIPLIER = 4.0
LATER_LEVELS = (
    levels.LATER_FORWARD, levels.LOSS_CURVE, levels.TRAINED, levels.RESUMED, levels.VALIDATION
)  # fmt: skip
FLOOR = 2.0
EXACT_LEVELS = (levels.INITIAL_WEIGHTS, levels.BATCHES)  # no rounding lies before these
_EPS = 2.0**-23  # of float32


def rms(values: np.ndarray) -> float:
    """Root mean square in float64; 0 for no elements, nan or inf if it holds one."""
    if values.size == 0:
        return 0.0
    wide = values.astype(np.float64, copy=False)
    scale = float(np.abs(wide).max())
    if scale == 0 or not math.isfinite(scale):
        return scale
    # scaled, so that squares neither underflow nor overflow
    return scale * float(np.sqrt(np.mean((wide / scale) ** 2)))


def rms_difference(left: np.ndarray, right: np.ndarray) -> float:
    """RMS of left - right, in float64."""
    return rms(left.astype(np.float64, copy=False) - right.astype(np.float64, copy=False))


def max_ulp_distance(left: np.ndarray, right: np.ndarray) -> Optional[int]:
    """Largest number of representable values between two float32 or float64 arrays.

    The bit patterns are mapped to integers that are ordered as the numbers are, so the distance
    crosses zero correctly. None for other types, or if a value is not a number.
    """
    if left.dtype != right.dtype or left.dtype not in (np.float32, np.float64) or left.size == 0:
        return None
    if np.isnan(left).any() or np.isnan(right).any():
        return None
    # as unsigned: a float64's distance may pass the largest signed integer
    a, b = _ordered(left), _ordered(right)
    return int(np.where(a > b, a - b, b - a).max())


def _ordered(values: np.ndarray) -> np.ndarray:
    wide = values.dtype == np.float64
    bits = np.ascontiguousarray(values).view(np.uint64 if wide else np.uint32).astype(np.uint64)
    sign = np.uint64(1 << (63 if wide else 31))
    ordered: np.ndarray = np.where(bits & sign, sign - (bits & (sign - np.uint64(1))), sign + bits)
    return ordered


def cosine(left: np.ndarray, right: np.ndarray) -> Optional[float]:
    """Cosine of the angle between two tensors; None if one is zero or not finite."""
    scales = rms(left), rms(right)
    if not all(0 < scale < math.inf for scale in scales):
        return None
    a = left.astype(np.float64).ravel() / scales[0]
    b = right.astype(np.float64).ravel() / scales[1]
    return float(np.dot(a, b)) / left.size


def find_largest(left: np.ndarray, right: np.ndarray) -> Tuple[int, ...]:
    """Index of the largest |right - left|; one that is not a number counts as largest."""
    difference = np.abs(right.astype(np.float64) - left.astype(np.float64))
    flat = np.where(np.isnan(difference), np.inf, difference).argmax()
    return tuple(int(i) for i in np.unravel_index(flat, left.shape))


def note_difference(entry: Entry, note: str) -> TensorDifference:
    """A difference that has no numbers, only a description."""
    return _create(entry, verdict="different", note=note)


def _create(entry: Entry, **measures: Any) -> TensorDifference:
    return TensorDifference(**entry.model_dump(exclude={"digest"}), **measures)


def measure_difference(
    entry: Entry,
    eager: np.ndarray,
    graph: np.ndarray,
    reference: Optional[np.ndarray],
    perturbed: Sequence[np.ndarray] = (),
) -> TensorDifference:
    """All measures of one tensor by its values in each run, and its verdict."""
    if eager.size == 0 or eager.dtype.kind != "f" or graph.dtype != eager.dtype:
        return note_difference(
            entry, f"{eager.dtype} in eager and {graph.dtype} in graph mode, other values"
        )
    infinite = int((np.isfinite(eager) != np.isfinite(graph)).sum())
    note = f"{infinite} elements are finite in one mode and not in the other" if infinite else None
    eager, graph, reference = _mask_infinite(eager, graph, reference)
    exact = eager if reference is None else reference
    scale = rms(exact)
    eager_error, graph_error = (rms_difference(mode, exact) for mode in (eager, graph))
    error = max([eager_error, *(rms_difference(run, eager) for run in perturbed)])
    ratio, verdict = _judge(entry.level, scale, error, graph_error)
    index = find_largest(eager, graph)
    eager_value, graph_value = float(eager[index]), float(graph[index])
    return _create(
        entry,
        verdict="different" if note else verdict,
        reference_rms=scale,
        eager_error=eager_error,
        graph_error=graph_error,
        difference_rms=rms_difference(graph, eager),
        error_ratio=ratio,
        max_abs=abs(graph_value - eager_value),
        max_ulp=max_ulp_distance(eager, graph),
        cosine=cosine(eager, graph),
        largest_at=list(index),
        eager_value=eager_value,
        graph_value=graph_value,
        reference_value=None if reference is None else float(reference[index]),
        note=note,
    )


def _judge(
    level: str, scale: float, eager_error: float, graph_error: float
) -> Tuple[Optional[float], Verdict]:
    """(error_ratio, verdict); a ratio that is not finite is None."""
    if level in EXACT_LEVELS:
        return None, "different"
    multiplier = LATER_MULTIPLIER if level in LATER_LEVELS else MULTIPLIER
    limit = multiplier * eager_error + FLOOR * _EPS * scale
    if limit == 0 or not math.isfinite(limit):
        return None, "equal within rounding" if graph_error == 0 else "different"
    ratio = graph_error / limit
    return ratio, "equal within rounding" if ratio <= 1 else "different"


def _mask_infinite(
    eager: np.ndarray, graph: np.ndarray, reference: Optional[np.ndarray]
) -> Tuple[np.ndarray, np.ndarray, Optional[np.ndarray]]:
    """All sides with 0 at elements that are not finite in one of them, which tell no rounding."""
    finite = np.isfinite(eager) & np.isfinite(graph)
    if reference is not None:
        finite &= np.isfinite(reference)
    if finite.all():
        return eager, graph, reference
    masked = None if reference is None else np.where(finite, reference, 0)
    return np.where(finite, eager, 0), np.where(finite, graph, 0), masked


def describe_error(difference: TensorDifference) -> str:
    """The graph's error beside eager's, in a sentence part."""
    ours, theirs = difference.eager_error, difference.graph_error
    if ours is None or theirs is None:
        return "a value that is not finite"
    return (
        f"graph error {theirs:.2e}, eager error {ours:.2e}, "
        f"values of {difference.reference_rms:.2e}"
    )


def adam_rounding(beta2: float) -> float:
    """Largest relative error of Adam's first update from its bias correction 1 - beta2^t.

    In float32 the subtraction leaves a relative error of up to 2^-24 / (1 - beta2) in it, and half
    of that in the update. Eager mode computes it so for any type of weights (the first update is
    off by 7e-6); a graph computes it exactly.
    """
    return 2.0**-24 / (1.0 - beta2) / 2.0


def clip_rounding(elements: int) -> float:
    """Relative error of a norm whose squares are added one after another in float32.

    `elements` are those of the largest tensor. Independent roundings give 2^-24 sqrt(n) / 2, which
    is 2e-5 for a layer of 262,144 weights and right for eager mode. A graph's norm was off by 2e-4
    (benchmarks/update_rounding.py).
    """
    return 8.0 * 2.0**-24 * math.sqrt(elements) / 2.0


def _sign(seed: int) -> int:
    """An odd seed moves up, an even one down."""
    return 1 if seed % 2 else -1


def move_learning_rate(workload: Workload, seed: int) -> Workload:
    """The workload of a perturbed run: Adam's learning rate is moved."""
    if workload.optimizer not in ("adam", "adamw"):
        return workload
    factor = 1.0 + _sign(seed) * adam_rounding(workload.beta2)
    return workload.model_copy(update={"lr": workload.lr * factor})


def move_optimizer(optimizer: Any, seed: int) -> None:
    """As `move_learning_rate`, on an optimizer without a schedule; moves the clip norm too."""
    for group in optimizer.param_groups:
        if "betas" in group:
            group["lr"] *= 1.0 + _sign(seed) * adam_rounding(group["betas"][1])
    move_clip_norm(optimizer, seed)


def move_clip_norm(optimizer: Any, seed: int) -> None:
    """Move the largest norm of clipped gradients."""
    for group in optimizer.param_groups:
        if group._enable_clip_grad:
            largest = max(parameter.numel() for parameter in group.parameters)
            group["clip_grad_max_norm"] *= 1.0 + _sign(seed) * clip_rounding(largest)


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
