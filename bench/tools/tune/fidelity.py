"""Whether a setting computes what stock computes: losses of the first steps, and what they trained.

Every process of a heat trains the same steps from the same weights before it is timed. Equal
digests are *identical*. Where a bit differs, stock's and the setting's tensors are judged as those
of two modes are in `bench check` (`parity/difference.py`): beside eager mode in float64 and, where
that finds a difference, beside eager runs whose weights were moved by one rounding
(`parity/witness.py`). Stock takes the place of eager, the setting that of the graph.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from ...parity.difference import measure_difference, note_difference
from ...parity.judge import DECISIVE_RATIO
from ...parity.result import LOSS_CURVE, TRAINED, TensorDifference
from ...parity.tensors import Entry
from ...record.checkpoint import read_state

BATCHES_LEVEL = "batches"
IDENTICAL, ROUNDING, DIFFERENT = "identical", "equal within rounding", "different"


@dataclass(frozen=True)
class Trained:
    """What a process computed in its first steps."""

    losses: Sequence[Optional[float]]  # of each step, float32 values; None where not finite
    labels_digest: str
    images_digest: Optional[str]  # None where the loader is inside the graph
    digest: str  # over parameters and buffers
    weights: Optional[Path] = None  # None where they are stock's, bit for bit


class Fidelity(BaseModel):
    """The parity of a setting with stock."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    verdict: str  # identical | equal within rounding | different
    level: Optional[str]  # the first that is not identical; where different, that fails
    reason: str  # a sentence part
    steps: int
    loss_difference: Optional[float]  # largest, relative; None where one is not finite
    error_ratio: Optional[float]  # largest error over what rounding explains; above 1 is different


def is_identical(stock: Trained, other: Trained) -> bool:
    """Whether every bit is the same, and no reference need be asked."""
    return list(stock.losses) == list(other.losses) and stock.digest == other.digest


def judge_fidelity(
    stock: Trained,
    other: Trained,
    reference: Optional[Trained] = None,
    witnesses: Sequence[Trained] = (),
) -> Fidelity:
    """The verdict on a setting. Without a reference only the float32 grid explains a difference."""
    steps, loss_difference = len(stock.losses), measure_loss_difference(stock, other)
    if not _same_batches(stock, other):
        reason = "it did not see stock's batches"
        return _conclude(DIFFERENT, BATCHES_LEVEL, reason, steps, loss_difference, [])
    if is_identical(stock, other):
        reason = f"losses and weights of {steps} steps are bitwise equal"
        return _conclude(IDENTICAL, None, reason, steps, loss_difference, [])
    found = [
        *_judge_losses(stock, other, reference, witnesses),
        *_judge_weights(stock, other, reference, witnesses),
    ]
    wrong = next((difference for difference in found if difference.verdict == DIFFERENT), None)
    if wrong is not None:
        reason = f"{wrong.name}: {wrong.note or _describe(wrong)}"
        return _conclude(DIFFERENT, wrong.level, reason, steps, loss_difference, found)
    worst = max(found, key=lambda difference: difference.error_ratio or 0.0)
    reason = (
        f"{len(found)} tensors differ in their last bits; the largest error is "
        f"{worst.error_ratio or 0.0:.2g} of what rounding explains, in {worst.name}"
    )
    return _conclude(ROUNDING, found[0].level, reason, steps, loss_difference, found)


def needs_witnesses(fidelity: Fidelity) -> bool:
    """Whether what was found different might yet be rounding that has grown."""
    ratio = fidelity.error_ratio
    return fidelity.verdict == DIFFERENT and ratio is not None and ratio < DECISIVE_RATIO


def measure_loss_difference(stock: Trained, other: Trained) -> Optional[float]:
    """Largest |other - stock| / |stock| over the steps; None where a loss is not finite."""
    largest = 0.0
    for ours, theirs in zip(stock.losses, other.losses):
        if ours is None or theirs is None:
            return None
        largest = max(largest, abs(theirs - ours) / max(abs(ours), 1e-30))
    return largest


def _same_batches(stock: Trained, other: Trained) -> bool:
    if stock.labels_digest != other.labels_digest:
        return False
    if stock.images_digest is None or other.images_digest is None:
        return True
    return stock.images_digest == other.images_digest


def _judge_losses(
    stock: Trained, other: Trained, reference: Optional[Trained], witnesses: Sequence[Trained]
) -> List[TensorDifference]:
    """The losses up to each step, as `bench check` takes them: one may meet stock's by luck."""
    ours, theirs = _to_array(stock), _to_array(other)
    wide = None if reference is None else _to_array(reference, np.float64)
    moved = [_to_array(witness) for witness in witnesses]
    found = []
    for step in range(1, len(ours) + 1):
        if not _is_equal(ours[:step], theirs[:step]):
            entry = Entry(
                level=LOSS_CURVE,
                name=f"losses to step {step}",
                kind="loss",
                shape=[step],
                digest="",
            )
            until = None if wide is None else wide[:step]
            found.append(
                measure_difference(
                    entry, ours[:step], theirs[:step], until, [values[:step] for values in moved]
                )
            )
    return found


def _to_array(trained: Trained, dtype: Any = np.float32) -> np.ndarray:
    return np.array([math.nan if x is None else x for x in trained.losses], dtype=dtype)


def _judge_weights(
    stock: Trained, other: Trained, reference: Optional[Trained], witnesses: Sequence[Trained]
) -> List[TensorDifference]:
    if stock.digest == other.digest:
        return []
    ours, theirs = _read(stock), _read(other)
    wide = {} if reference is None else _read(reference)
    moved = [_read(witness) for witness in witnesses]
    found = []
    for name, value in ours.items():
        entry = Entry(
            level=TRAINED, name=name, kind="parameter", shape=list(value.shape), digest=""
        )
        if name not in theirs or theirs[name].shape != value.shape:
            found.append(note_difference(entry, "it has another shape, or is not there"))
        elif not _is_equal(value, theirs[name]):
            found.append(_measure(entry, value, theirs[name], wide.get(name), moved))
    return found


def _measure(
    entry: Entry,
    ours: np.ndarray,
    theirs: np.ndarray,
    reference: Optional[np.ndarray],
    witnesses: Sequence[Mapping[str, np.ndarray]],
) -> TensorDifference:
    if ours.dtype.kind != "f" or theirs.dtype != ours.dtype:
        return note_difference(entry, f"other values of {ours.dtype} and {theirs.dtype}")
    moved = [witness[entry.name] for witness in witnesses if entry.name in witness]
    return measure_difference(entry, ours, theirs, reference, moved)


def _is_equal(left: np.ndarray, right: np.ndarray) -> bool:
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


def _read(trained: Trained) -> Dict[str, np.ndarray]:
    return {} if trained.weights is None else read_state(trained.weights)


def _describe(difference: TensorDifference) -> str:
    ours, theirs = difference.eager_error, difference.graph_error
    if ours is None or theirs is None:
        return "a value that is not finite"
    return f"error {theirs:.2e} where stock's is {ours:.2e}"


def _conclude(
    verdict: str,
    level: Optional[str],
    reason: str,
    steps: int,
    loss_difference: Optional[float],
    found: Sequence[TensorDifference],
) -> Fidelity:
    ratios = [d.error_ratio for d in found if d.error_ratio is not None]
    return Fidelity(
        verdict=verdict,
        level=level,
        reason=reason,
        steps=steps,
        loss_difference=loss_difference,
        error_ratio=max(ratios, default=None),
    )
