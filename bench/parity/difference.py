"""One tensor that is not bitwise equal: the distance between the modes, and is it rounding?

With r the float64 reference and RMS over elements,

    eager error  e = RMS(eager - r)        graph error  g = RMS(graph - r)
    limit        x = M * max(e, p) + FLOOR * 2^-23 * RMS(r)

the tensor is *equal within rounding* if g <= x and *different* if not. M is 2 for tensors of one
step, and 4 for tensors after several steps, where chance has more room. p is 0 at first. If a
tensor is different, p becomes the largest RMS(perturbed - eager) of some perturbed runs. To set the
compiled model's error beside eager's own is the idea of PyTorch's benchmark runner (torchdynamo
`same`). The thresholds come from the zoo: docs/parity.md.

An element must not hide behind others, so three more limits hold:

- g <= x in every group of elements of one magnitude (`measures.list_groups`). M is multiplied there
  by sqrt(F), the quantile at CHANCE of a ratio of norms of so few elements. Over the whole tensor
  it is multiplied so once there are perturbed runs.
- The largest error of one element is at most ELEMENT M times the largest in eager mode.
- The *common factor* is the coefficient of graph - eager on eager. Errors without a common factor
  cancel in it, so it tells a factor far below their norm. It may be FACTOR times the largest
  coefficient of eager's own error and of the perturbed runs, or FACTOR_FLOOR * 2^-23, if it
  explains a part of EXPLAINED of the difference's square. It is not used after several steps:
  running variances there drift together.

`error_ratio` is the largest error over its limit.

A perturbed run is an eager run that differs from eager mode by no more than rounding may. No
formula tells how a training run amplifies one rounding error: deep models with batch norm multiply
it a thousandfold within a few steps. So every weight is moved to a neighbouring float32 value, up
or down at random. This is Monte Carlo arithmetic (Parker 1997) with the noise put in at the start.

Contenders that differ in runtime, variables, device or interpreter run other kernels, and those may
be less exact, such as oneDNN's softmax. They may lose 4 of 24 bits. So perturbed runs move weights
by `Sides.ulps` = 16 values, and the unit of both floors, 2^-23, is 16 times as large.

OneFlow 0.9.0 computes two numbers in float32 that need a larger perturbation: Adam's bias
correction (`adam_rounding`) and the norm of all gradients (`clip_rounding`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from ..config import ADAM_LIKE, Workload
from . import result as levels
from .measures import (
    chance_correlation,
    cosine,
    find_largest,
    largest,
    list_groups,
    max_ulp_distance,
    norm_quantile,
    regress,
    rms,
    rms_difference,
    subtract,
)
from .result import TensorDifference
from .tensors import GRAPH, MODES, Entry, Pair, Sides, load_values

MULTIPLIER = 2.0
LATER_MULTIPLIER = 4.0
LATER_LEVELS = (
    levels.LATER_FORWARD, levels.LOSS_CURVE, levels.TRAINED, levels.RESUMED, levels.VALIDATION
)  # fmt: skip
FLOOR = 2.0
CHANCE = 1e-5  # of an F quantile, before the multiplier
ELEMENT = 16.0  # times the multiplier, for the largest error of one element
FACTOR, FACTOR_FLOOR = 4.0, 8.0
EXPLAINED = 0.25  # of the difference's square, by a common factor
# after several steps a ReLU that flips moves elements near 0 as far as any: they are no group there
UNGROUPED_LEVELS = (levels.TRAINED, levels.RESUMED)
EXACT_LEVELS = (levels.INITIAL_WEIGHTS, levels.BATCHES)  # no rounding lies before these
_EPS, _TINY = 2.0**-23, 2.0**-126  # of float32

# folders with the values of tensors: eager and graph mode, the reference, perturbed runs
Evidence = Sequence[Path]


def judge_tensor(
    pair: Pair, evidence: Optional[Evidence], flag: Optional[str], sides: Sides
) -> TensorDifference:
    """A tensor that is not identical; different without values, or by another reason, `flag`."""
    entry = pair.eager
    note = pair.find_mismatch(sides)
    if note is None and evidence is not None and entry.level != levels.BATCHES:
        eager, graph, reference, *perturbed = (
            load_values(folder, entry.level, entry.name) for folder in evidence
        )
        if eager is not None and graph is not None:
            moved = [run for run in perturbed if run is not None]
            found = measure_difference(entry, eager, graph, reference, moved, sides)
            flagged = {"verdict": "different", "note": flag} if flag else {}
            return found.model_copy(update=flagged)
        note = "a side's second run did not give it"
    return note_difference(entry, flag or note or "other bits")


def note_difference(entry: Entry, note: str) -> TensorDifference:
    """A difference that has no numbers, only a description."""
    return _create(entry, verdict="different", note=note)


def _create(entry: Entry, **measures: Any) -> TensorDifference:
    return TensorDifference(**entry.model_dump(exclude={"digest", "owner", "finite"}), **measures)


def measure_difference(
    entry: Entry,
    eager: np.ndarray,
    graph: np.ndarray,
    reference: Optional[np.ndarray],
    perturbed: Sequence[np.ndarray] = (),
    sides: Sides = MODES,
) -> TensorDifference:
    """All measures of one tensor by its values in each run, and its verdict."""
    if eager.size == 0 or eager.dtype.kind != "f" or graph.dtype != eager.dtype:
        types = f"{eager.dtype} in {sides.eager} and {graph.dtype} in {sides.describe(GRAPH)}"
        return note_difference(entry, f"{types}, other values")
    finite = np.isfinite(eager) & np.isfinite(graph)
    infinite = int((~finite & (eager != graph) & ~(np.isnan(eager) & np.isnan(graph))).sum())
    note = f"{infinite} elements are not finite and not the same on both sides" * bool(infinite)
    exact = eager if reference is None else np.where(np.isfinite(reference), reference, eager)
    if not finite.all():  # elements that tell no rounding
        exact, eager, graph = (np.where(finite, side, 0) for side in (exact, eager, graph))
        perturbed = [np.where(finite, run, 0) for run in perturbed]
    ratio, described = _judge(entry.level, exact, eager, graph, perturbed, sides)
    different = bool(infinite) or ratio is None or ratio > 1
    index = find_largest(eager, graph)
    eager_value, graph_value = float(eager[index]), float(graph[index])
    return _create(
        entry,
        verdict="different" if different else "equal within rounding",
        reference_rms=rms(exact),
        eager_error=rms_difference(eager, exact),
        graph_error=rms_difference(graph, exact),
        difference_rms=rms_difference(graph, eager),
        error_ratio=ratio,
        max_abs=abs(graph_value - eager_value),
        max_ulp=max_ulp_distance(eager, graph),
        cosine=cosine(eager, graph),
        largest_at=list(index),
        eager_value=eager_value,
        graph_value=graph_value,
        reference_value=None if reference is None else float(reference[index]),
        note=note or (described if different else None),
    )


def _judge(
    level: str,
    exact: np.ndarray,
    eager: np.ndarray,
    graph: np.ndarray,
    perturbed: Sequence[np.ndarray],
    sides: Sides,
) -> Tuple[Optional[float], Optional[str]]:
    """(largest error over its limit, its description or None if the whole tensor's norm says it).

    The ratio is None where no rounding is allowed, or a limit is not finite.
    """
    if level in EXACT_LEVELS:
        return None, None
    multiplier = LATER_MULTIPLIER if level in LATER_LEVELS else MULTIPLIER
    found: List[Tuple[float, Optional[str]]] = []
    groups = [] if level in UNGROUPED_LEVELS else list_groups(exact)
    for group in [slice(None)] + groups * (len(groups) > 1):
        r, e, g, *runs = (side.ravel()[group] for side in (exact, eager, graph, *perturbed))
        moves = [subtract(e, r), *(subtract(run, e) for run in runs)]
        whole = isinstance(group, slice)
        luck = 1.0 if whole and not runs else norm_quantile(moves, CHANCE)
        errors = subtract(g, r)
        found += _judge_elements(multiplier, luck, r, errors, moves, sides)
        if whole and level not in LATER_LEVELS:
            found.append(_judge_factor(r, e, errors, moves, sides.ulps))
    if not all(math.isfinite(ratio) for ratio, _ in found):
        return None, None
    ratio, note = max(found, key=lambda one: one[0])
    return ratio, None if found[0][0] > 1 else note


def _judge_elements(
    multiplier: float,
    luck: float,
    r: np.ndarray,
    errors: np.ndarray,
    moves: Sequence[np.ndarray],
    sides: Sides,
) -> Iterator[Tuple[float, str]]:
    """Error over limit, with a description, of the elements' norm and of the largest."""
    elements = f"{r.size} elements near {rms(r):.1e}: "
    for size, times, label in ((rms, luck, ""), (largest, max(ELEMENT, luck), "one of ")):
        error, own = size(errors), max(map(size, moves))
        limit = multiplier * times * own + FLOOR * sides.ulps * _EPS * size(r) + _TINY
        numbers = f"{sides.graph} error {error:.2e}, {sides.eager} error {size(moves[0]):.2e}"
        yield error / limit, label + elements + numbers


def _judge_factor(
    r: np.ndarray, e: np.ndarray, errors: np.ndarray, moves: Sequence[np.ndarray], ulps: int
) -> Tuple[float, Optional[str]]:
    """The common factor over its limit, with a description; 0 if it explains too little."""
    factor, explained = regress(errors - moves[0], e)
    if explained <= max(EXPLAINED, chance_correlation(e, CHANCE)):
        return 0.0, None
    own = [regress(move, r) for move in moves]  # e is as good as r here
    limit = FACTOR * max(abs(one) for one, _ in own) + FACTOR_FLOOR * ulps * _EPS
    limit += _TINY / max(rms(e), _TINY * _EPS)
    note = f"all values are off by a factor of 1 {factor:+.2e}, limit {limit:.2e}"
    return abs(factor) / limit, note


def describe_error(difference: TensorDifference, sides: Sides) -> str:
    """The graph's error beside eager's, in a sentence part."""
    ours, theirs = difference.eager_error, difference.graph_error
    if ours is None or theirs is None:
        return "a value that is not finite"
    return (
        f"{sides.graph} error {theirs:.2e}, {sides.eager} error {ours:.2e}, "
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
    """The workload of a perturbed run: the learning rate of an optimizer like Adam is moved."""
    if workload.optimizer not in ADAM_LIKE:
        return workload
    factor = 1.0 + _sign(seed) * adam_rounding(workload.beta2)
    return workload.model_copy(update={"lr": workload.lr * factor})


def move_optimizer(optimizer: Any, seed: int) -> None:
    """As `move_learning_rate`, at each step, whatever a scheduler sets; moves the clip norm too."""
    take_step = optimizer.step

    def step(*arguments: Any) -> Any:
        groups = [group for group in optimizer.param_groups if "betas" in group]
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] *= 1.0 + _sign(seed) * adam_rounding(group["betas"][1])
        result = take_step(*arguments)
        for group, rate in zip(groups, rates):
            group["lr"] = rate
        return result

    optimizer.step = step
    move_clip_norm(optimizer, seed)


def move_clip_norm(optimizer: Any, seed: int) -> None:
    """Move the largest norm of clipped gradients."""
    for group in optimizer.param_groups:
        if group._enable_clip_grad:
            largest = max(parameter.numel() for parameter in group.parameters)
            group["clip_grad_max_norm"] *= 1.0 + _sign(seed) * clip_rounding(largest)


def move_weights(model: Any, seed: int, ulps: int = 1) -> None:
    """Move each element of each parameter by so many representable values, up or down."""
    import oneflow as flow

    source = np.random.RandomState(seed)
    moved = {}
    for name, parameter in model.named_parameters():
        value = np.array(parameter.numpy())
        direction = np.where(source.rand(*value.shape) < 0.5, -np.inf, np.inf)
        step = np.nextafter(value, direction.astype(value.dtype)) - value
        moved[name] = flow.tensor(value + ulps * step)
    model.load_state_dict(moved, strict=False)
