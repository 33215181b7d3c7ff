"""Parity of two training runs by weights, batches, losses and accuracy (docs/methodology.md)."""

from __future__ import annotations

from typing import List, Optional, Tuple

from pydantic import BaseModel

from ..record.run import BlockEvent
from ..verdict.statistics import correlation

# Rounding: see docs/methodology.md for where these come from.
EARLY_STEPS = 10
EARLY_TOLERANCE = 1e-4  # of max(1, |loss|), over the first EARLY_STEPS steps
ACCURACY_TOLERANCE = 0.02  # of the last epoch's accuracy


class LossDifference(BaseModel):
    """Differences of the losses over the common steps, at full precision."""

    steps: int
    max_abs: float
    mean_abs: float
    first_different_step: Optional[int]  # None: bitwise equal
    correlation: Optional[float]


def compare_losses(
    left: List[BlockEvent], right: List[BlockEvent]
) -> Tuple[Optional[LossDifference], bool]:
    """The difference over the common steps, and whether all of their losses are finite."""
    ours = [loss for block in left for loss in block.losses]
    theirs = [loss for block in right for loss in block.losses]
    count = min(len(ours), len(theirs))
    pairs = [(a, b) for a, b in zip(ours, theirs) if a is not None and b is not None]
    if not pairs:
        return None, False
    differences = [abs(a - b) for a, b in pairs]
    different = [step for step in range(count) if ours[step] != theirs[step]]
    return (
        LossDifference(
            steps=count,
            max_abs=max(differences),
            mean_abs=sum(differences) / len(differences),
            first_different_step=different[0] if different else None,
            correlation=correlation([a for a, _ in pairs], [b for _, b in pairs]),
        ),
        len(pairs) == count,
    )


def judge_parity(
    same_weights: Optional[bool],
    same_batches: Optional[bool],
    loss: Optional[LossDifference],
    finite: bool,
    accuracy_difference: Optional[float],
    blocks: Tuple[List[BlockEvent], List[BlockEvent]],
) -> Tuple[str, str]:
    """The verdict and its reason in a sentence part."""
    if not same_weights:
        return "inconclusive", "the contenders did not start from the same weights"
    if same_batches is None:
        return "inconclusive", "no blocks of the same steps were measured"
    if not same_batches:
        return "inconclusive", "the contenders did not see the same batches"
    ours, theirs = ([x for b in side for x in b.losses] for side in blocks)
    if any((a is None) != (b is None) for a, b in zip(ours, theirs)):
        return "different", "the losses of one contender alone became infinite or not a number"
    if loss is None or not finite:
        return "inconclusive", "the losses of both became infinite or not a number"
    if loss.first_different_step is None:
        return "identical", f"the losses of all {loss.steps} steps are bitwise equal"
    early = max(
        abs(a - b) / max(1.0, abs(a))
        for a, b in zip(ours[:EARLY_STEPS], theirs[:EARLY_STEPS])
        if a is not None and b is not None
    )
    if early > EARLY_TOLERANCE:
        return "different", (
            f"within the first {EARLY_STEPS} steps the losses differ by {early:.1e}, "
            f"more than the {EARLY_TOLERANCE:.0e} that is allowed here; bench check says where it "
            "begins and whether rounding explains it"
        )
    if accuracy_difference is not None and abs(accuracy_difference) > ACCURACY_TOLERANCE:
        return "different", (
            f"the last accuracies differ by {abs(accuracy_difference) * 100:.1f} points, "
            f"more than {ACCURACY_TOLERANCE * 100:.0f}"
        )
    return "equal within rounding", (
        f"the losses differ from step {loss.first_different_step} on, by {loss.max_abs:.1e} at most"
    )
