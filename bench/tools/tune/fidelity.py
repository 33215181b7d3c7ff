"""Whether a program computes what stock computes: its first losses, and the weights they trained.

Equal digests are *identical*. Otherwise the tensors of stock and of the program are judged as those
of two modes are in `bench check` (`parity/difference.py`), stock in the place of eager mode: beside
eager mode in float64 and, if that finds a difference, beside eager runs that were perturbed by one
rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from ...parity.difference import measure_difference, note_difference
from ...parity.judge import DECISIVE_RATIO
from ...parity.result import LOSS_CURVE, TRAINED, TensorDifference
from ...parity.tensors import Entry
from ...record.checkpoint import read_state

BATCHES_LEVEL = "batches"
IDENTICAL, ROUNDING, DIFFERENT = "identical", "equal within rounding", "different"
LOSSES = "losses to step"  # begins the name of a tensor of losses


@dataclass(frozen=True)
class Trained:
    """The first steps of a process."""

    losses: Sequence[Optional[float]]  # of each step, float32 values; None if not finite
    labels_digest: str
    images_digest: Optional[str]  # None with the loader inside the graph
    digest: str  # over parameters and buffers
    weights: Optional[Path] = None  # None if they are stock's, bit for bit
    operators_digest: Optional[str] = None  # of the compiled graph
    step_time_s: float = 0.0


class Fidelity(BaseModel):
    """The parity of a program with stock."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    verdict: str  # identical | equal within rounding | different
    level: Optional[str]  # the first that is not identical; for `different` the one that fails
    reason: str  # a sentence part
    steps: int
    loss_difference: Optional[float]  # largest, relative; None if a loss is not finite
    error_ratio: Optional[float]  # largest error over the share of rounding; above 1 is different


def is_identical(stock: Trained, other: Trained) -> bool:
    """Whether every bit is the same, so that no reference is needed."""
    return list(stock.losses) == list(other.losses) and stock.digest == other.digest


def judge_fidelity(
    stock: Trained,
    other: Trained,
    reference: Optional[Trained] = None,
    perturbed: Sequence[Trained] = (),
) -> Fidelity:
    """The verdict on a program. Without a reference only the float32 grid explains a difference."""
    steps = len(stock.losses)
    found: List[TensorDifference] = []
    verdict, level = IDENTICAL, None
    reason = f"losses and weights of {steps} steps are bitwise equal"
    images = {stock.images_digest, other.images_digest} - {None}
    if stock.labels_digest != other.labels_digest or len(images) > 1:
        verdict, level, reason = DIFFERENT, BATCHES_LEVEL, "it did not see stock's batches"
    elif not is_identical(stock, other):
        found = _measure_differences(stock, other, reference, perturbed)
        wrong = next((d for d in found if d.verdict == DIFFERENT), None)
        worst = wrong or max(found, key=lambda d: d.error_ratio or 0.0)
        verdict, level = (ROUNDING, found[0].level) if wrong is None else (DIFFERENT, wrong.level)
        reason = (
            f"{len(found)} tensors differ in their last bits; the largest error is "
            f"{worst.error_ratio or 0.0:.2g} of what rounding explains, in {worst.name}"
            if wrong is None
            else f"{wrong.name}: {wrong.note or _describe(wrong)}"
        )
    return Fidelity(
        verdict=verdict,
        level=level,
        reason=reason,
        steps=steps,
        loss_difference=measure_loss_difference(stock, other),
        error_ratio=max((d.error_ratio for d in found if d.error_ratio is not None), default=None),
    )


def measure_loss_difference(stock: Trained, other: Trained) -> Optional[float]:
    """Largest |other - stock| / |stock| over the steps; None if a loss is not finite."""
    largest = 0.0
    for ours, theirs in zip(stock.losses, other.losses):
        if ours is None or theirs is None:
            return None
        largest = max(largest, abs(theirs - ours) / max(abs(ours), 1e-30))
    return largest


def needs_perturbed_runs(fidelity: Fidelity) -> bool:
    """Whether the difference may be a rounding error that has grown."""
    ratio = fidelity.error_ratio
    return fidelity.verdict == DIFFERENT and ratio is not None and ratio < DECISIVE_RATIO


def _measure_differences(
    stock: Trained, other: Trained, reference: Optional[Trained], perturbed: Sequence[Trained]
) -> List[TensorDifference]:
    """Of each tensor that is not bitwise equal, the losses first."""
    ours, theirs = _list_tensors(stock), _list_tensors(other)
    wide = {} if reference is None else _list_tensors(reference, np.float64)
    moved = [_list_tensors(one) for one in perturbed]
    if other.digest == stock.digest:  # equal weights were not written
        ours = {name: value for name, value in ours.items() if name.startswith(LOSSES)}
    found = []
    for name, value in ours.items():
        mine, is_loss = theirs.get(name), name.startswith(LOSSES)
        level, kind = (LOSS_CURVE, "loss") if is_loss else (TRAINED, "parameter")
        entry = Entry(level=level, kind=kind, name=name, shape=list(value.shape), digest="")
        if mine is None or mine.shape != value.shape:
            found.append(note_difference(entry, "it has another shape, or is not there"))
        elif (value.dtype, value.tobytes()) == (mine.dtype, mine.tobytes()):
            continue
        elif value.dtype.kind != "f" or mine.dtype != value.dtype:
            note = f"other values of {value.dtype} and {mine.dtype}"
            found.append(note_difference(entry, note))
        else:
            beside = [tensors[name] for tensors in moved if name in tensors]
            found.append(measure_difference(entry, value, mine, wide.get(name), beside))
    return found


def _list_tensors(trained: Trained, dtype: Any = np.float32) -> Dict[str, np.ndarray]:
    """The losses up to each step, as one alone may meet stock's by luck, and the weights."""
    losses = np.array([math.nan if x is None else x for x in trained.losses], dtype=dtype)
    tensors = {f"{LOSSES} {step}": losses[:step] for step in range(1, len(losses) + 1)}
    return {**tensors, **(read_state(trained.weights) if trained.weights else {})}


def _describe(difference: TensorDifference) -> str:
    ours, theirs = difference.eager_error, difference.graph_error
    if ours is None or theirs is None:
        return "a value that is not finite"
    return f"error {theirs:.2e} where stock's is {ours:.2e}"
