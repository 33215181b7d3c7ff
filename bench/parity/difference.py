"""One tensor that is not bitwise equal: how far apart the modes are, and whether that is rounding.

With r the float64 reference and RMS over the tensor's elements,

    eager error  e = RMS(eager - r)        graph error  g = RMS(graph - r)
    explained    x = M * max(e, w) + FLOOR * 2^-23 * RMS(r)

with M = 2 for what one step gives, and 4 for what several have given, where chance has had more
room, it is *equal within rounding* where g <= x and *different* where not; `error_ratio` is g / x.
w is 0, or, where a first judgement found something different, the largest RMS(witness - eager) over
some witnesses (`witness.py`): eager runs that differ by no more than rounding may, which show what
rounding grows to in a chaotic training run. Setting the compiled model's error beside eager's own,
from a wider reference, is the idea of PyTorch's benchmark runner (torchdynamo `same`); the
thresholds come from the zoo, see docs/check.md.
"""

from __future__ import annotations

import math
from typing import Optional, Sequence, Tuple

import numpy as np

from .measures import cosine, find_largest, max_ulp_distance, rms, rms_difference
from .result import (
    BATCHES,
    INITIAL_WEIGHTS,
    LOSS_CURVE,
    RESUMED,
    TRAINED,
    VALIDATION,
    TensorDifference,
    Verdict,
)
from .tensors import Entry

MULTIPLIER = 2.0
LATER_MULTIPLIER = 4.0
LATER_LEVELS = (LOSS_CURVE, TRAINED, RESUMED, VALIDATION)
FLOOR = 2.0
EXACT_LEVELS = (INITIAL_WEIGHTS, BATCHES)  # no rounding lies before these
_EPS = 2.0**-23  # of float32


def note_difference(entry: Entry, note: str) -> TensorDifference:
    """A difference that cannot be said in numbers."""
    return TensorDifference(
        level=entry.level,
        name=entry.name,
        kind=entry.kind,
        shape=entry.shape,
        verdict="different",
        reference_rms=None,
        eager_error=None,
        graph_error=None,
        difference_rms=None,
        error_ratio=None,
        max_abs=None,
        max_ulp=None,
        cosine=None,
        largest_at=[],
        eager_value=None,
        graph_value=None,
        reference_value=None,
        note=note,
    )


def measure_difference(
    entry: Entry,
    eager: np.ndarray,
    graph: np.ndarray,
    reference: Optional[np.ndarray],
    witnesses: Sequence[np.ndarray] = (),
) -> TensorDifference:
    """All measures of one tensor whose values are at hand, and its verdict."""
    if eager.size == 0 or eager.dtype.kind != "f" or graph.dtype != eager.dtype:
        return note_difference(
            entry, f"{eager.dtype} in eager and {graph.dtype} in graph mode, other values"
        )
    note = _find_infinite(eager, graph)
    eager, graph, reference = _mask_infinite(eager, graph, reference)
    largest = find_largest(eager, graph)
    scale = rms(eager if reference is None else reference)
    eager_error = 0.0 if reference is None else rms_difference(eager, reference)
    graph_error = rms_difference(graph, eager if reference is None else reference)
    ratio, verdict = _judge(
        entry,
        scale,
        max([eager_error, *(rms_difference(witness, eager) for witness in witnesses)]),
        graph_error,
    )
    return TensorDifference(
        level=entry.level,
        name=entry.name,
        kind=entry.kind,
        shape=entry.shape,
        verdict="different" if note else verdict,
        reference_rms=_finite(scale),
        eager_error=_finite(eager_error),
        graph_error=_finite(graph_error),
        difference_rms=_finite(rms_difference(graph, eager)),
        error_ratio=ratio,
        max_abs=_finite(largest.difference),
        max_ulp=max_ulp_distance(eager, graph),
        cosine=cosine(eager, graph),
        largest_at=largest.index,
        eager_value=_finite(largest.left),
        graph_value=_finite(largest.right),
        reference_value=(
            None if reference is None else _finite(float(reference[tuple(largest.index)]))
        ),
        note=note,
    )


def _judge(
    entry: Entry, scale: float, explained_error: float, graph_error: float
) -> Tuple[Optional[float], Verdict]:
    """(error_ratio, verdict); a ratio that is not finite is None."""
    if entry.level in EXACT_LEVELS:
        return None, "different"
    multiplier = LATER_MULTIPLIER if entry.level in LATER_LEVELS else MULTIPLIER
    explained = multiplier * explained_error + FLOOR * _EPS * scale
    if explained == 0 or not math.isfinite(explained):
        return None, "equal within rounding" if graph_error == 0 else "different"
    ratio = graph_error / explained
    return ratio, "equal within rounding" if ratio <= 1 else "different"


def _find_infinite(eager: np.ndarray, graph: np.ndarray) -> Optional[str]:
    left, right = np.isfinite(eager), np.isfinite(graph)
    if np.array_equal(left, right):
        return None
    count = int((left != right).sum())
    return f"{count} elements are finite in one mode and not in the other"


def _mask_infinite(
    eager: np.ndarray, graph: np.ndarray, reference: Optional[np.ndarray]
) -> Tuple[np.ndarray, np.ndarray, Optional[np.ndarray]]:
    """All sides with 0 where any of them is not finite: those elements say nothing of rounding."""
    finite = np.isfinite(eager) & np.isfinite(graph)
    if reference is not None:
        finite &= np.isfinite(reference)
    if finite.all():
        return eager, graph, reference
    masked = [None if x is None else np.where(finite, x, 0) for x in (eager, graph, reference)]
    assert masked[0] is not None and masked[1] is not None
    return masked[0], masked[1], masked[2]


def _finite(value: float) -> Optional[float]:
    return value if math.isfinite(value) else None


def describe_error(difference: TensorDifference) -> str:
    """The graph's error beside eager's, in a sentence part."""
    ours, theirs = difference.eager_error, difference.graph_error
    if ours is None or theirs is None:
        return "a value that is not finite"
    return (
        f"error {theirs:.2e} where eager's is {ours:.2e}, values of {difference.reference_rms:.2e}"
    )
