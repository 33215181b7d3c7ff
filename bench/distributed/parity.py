"""Parity of several ranks with one process, judged beside the same training in float64.

With r the losses of the reference and, over the first COMPARED_STEPS steps,

    e = max |baseline - r| / |r|        g = max |ranks - r| / |r|

the losses are *equal within rounding* where g <= MULTIPLIER e + FLOOR and *different* where not. It
is the rule of bench check for what several steps gave (`parity/difference.py`), with the largest
relative error instead of the RMS and a wider floor, as the ranks add in another order. A loss
nearer to 0 than SMALLEST_LOSS is taken as that.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from pydantic import BaseModel, ConfigDict

from ..parity.judge import KnownDifference, load_known_differences
from ..record.run import BlockEvent
from ..report.loss_parity import ACCURACY_TOLERANCE

COMPARED_STEPS = 20  # later ones differ by what training makes of any rounding
MULTIPLIER = 4.0
FLOOR = 1e-6
SMALLEST_LOSS = 1e-3
LEVEL = "ranks"  # of the known differences
_GRADIENT = "gradient"  # kind of the entry that explains rounding
_JUDGED = ("identical", "equal within rounding", "different")  # by batches and weights


class ReferenceErrors(BaseModel):
    """The largest relative errors of the losses against float64, over the first steps."""

    model_config = ConfigDict(frozen=True)

    steps: int
    contender: float
    baseline: float
    allowed: float


class Expected(BaseModel):
    """A known difference that the model and the strategy have, and the size it has here."""

    model_config = ConfigDict(frozen=True)

    id: str
    reason: str
    link: str
    size: float  # largest relative difference of the losses from the baseline's


class RanksParity(BaseModel):
    """The verdict, what it rests on, and the known difference that explains it."""

    model_config = ConfigDict(frozen=True)

    parity: str
    reason: str
    errors: Optional[ReferenceErrors]  # None without a reference
    expected: Optional[Expected]  # of a difference


def measure_errors(
    baseline: Sequence[BlockEvent],
    contender: Sequence[BlockEvent],
    reference: Sequence[BlockEvent],
) -> Optional[ReferenceErrors]:
    """None where no steps of all three are there, or a loss of theirs is not finite."""
    sides = [_list_losses(side) for side in (baseline, contender, reference)]
    steps = min(map(len, sides))
    ours, theirs, true = ([x for x in side[:steps] if x is not None] for side in sides)
    if not steps or min(len(ours), len(theirs), len(true)) < steps:
        return None
    error = measure_relative(ours, true)
    return ReferenceErrors(
        steps=steps,
        contender=measure_relative(theirs, true),
        baseline=error,
        allowed=MULTIPLIER * error + FLOOR,
    )


def measure_relative(losses: Sequence[float], reference: Sequence[float]) -> float:
    """The largest relative difference of losses from those of a reference."""
    return max(abs(x - r) / max(abs(r), SMALLEST_LOSS) for x, r in zip(losses, reference))


def _list_losses(blocks: Sequence[BlockEvent]) -> List[Optional[float]]:
    return [loss for block in blocks for loss in block.losses][:COMPARED_STEPS]


def judge_ranks(
    verdict: Tuple[str, str],
    errors: Optional[ReferenceErrors],
    size: float,
    accuracy_difference: Optional[float],
    known: Sequence[KnownDifference],
) -> RanksParity:
    """The verdict on ranks, from that of two contenders and the errors against the reference.

    `size` is the largest relative difference from the baseline's losses; `known` are the entries
    that fit the model and the strategy. Without a reference, or without the same weights and
    batches, the verdict stays what it was.
    """
    parity, reason = verdict
    if errors is not None and parity in _JUDGED[1:]:
        parity, reason = _judge_errors(errors, accuracy_difference)
    expected = None
    if parity == "different":
        entry = next((one for one in known if one.kind != _GRADIENT), None)
        if entry is not None:
            expected = Expected(id=entry.id, reason=entry.reason, link=entry.link, size=size)
            reason = f"{reason}; expected, by {size:.1e} of the baseline's: {entry.reason}"
    elif parity == "equal within rounding":
        entry = next((one for one in known if one.kind == _GRADIENT), None)
        if entry is not None:
            reason = f"{reason}; {entry.reason}"
    return RanksParity(parity=parity, reason=reason, errors=errors, expected=expected)


def _judge_errors(errors: ReferenceErrors, accuracy_difference: Optional[float]) -> Tuple[str, str]:
    said = (
        f"over the first {errors.steps} steps the losses are within {errors.contender:.1e} of one "
        f"process in float64, the baseline's within {errors.baseline:.1e}"
    )
    if errors.contender > errors.allowed:
        return "different", f"{said}, and {errors.allowed:.1e} is allowed"
    if accuracy_difference is not None and abs(accuracy_difference) > ACCURACY_TOLERANCE:
        points = abs(accuracy_difference) * 100
        return "different", f"{said}, but the last accuracies differ by {points:.1f} points"
    return "equal within rounding", said


def find_known(kinds: Sequence[str], word: str, oneflow: Optional[str]) -> List[KnownDifference]:
    """The entries that explain differences of a strategy for a model with modules of `kinds`."""
    present = [*kinds, _GRADIENT]
    return [
        entry
        for entry in load_known_differences()
        if any(entry.explains(LEVEL, word, kind, oneflow) for kind in present)
    ]
