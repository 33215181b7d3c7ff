"""Parity of several ranks with one process, judged beside the same training in float64.

With r the losses of the reference and, over the first COMPARED_STEPS steps,

    e = max |baseline - r| / |r|        g = max |ranks - r| / |r|

the losses are *equal within rounding* if g <= MULTIPLIER e + FLOOR, else *different*. `bench check`
uses the same rule for several steps (`parity/difference.py`), with the RMS in place of the largest
relative error, and with a smaller floor: ranks add in another order. A loss nearer to 0 than
SMALLEST_LOSS counts as SMALLEST_LOSS.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple

from pydantic import BaseModel, ConfigDict

from ..parity.judge import KnownDifference, load_known_differences
from ..record.events import BlockEvent, SetupEvent
from ..record.run import RunRecord
from ..report.comparison import ACCURACY_TOLERANCE
from ..verdict.statistics import Ratio
from .summary import RanksSummary, summarize_ranks

NOT_JUDGED = "not judged"
COMPARED_STEPS = 20  # training amplifies any rounding, so later losses differ anyway
MULTIPLIER = 4.0
FLOOR = 1e-6
SMALLEST_LOSS = 1e-3
LEVEL = "ranks"  # of the known differences
_GRADIENT = "gradient"  # kind of the entry that explains rounding
_JUDGED = ("identical", "equal within rounding", "different")  # with equal batches and weights


class ReferenceErrors(BaseModel):
    """The largest relative errors of the losses against float64, over the first steps."""

    model_config = ConfigDict(frozen=True)

    steps: int
    contender: float
    baseline: float
    allowed: float


class Expected(BaseModel):
    """A known difference that the model and the strategy have, and its size in this run."""

    model_config = ConfigDict(frozen=True)

    id: str
    reason: str
    link: str
    size: float  # largest relative difference of the losses from the baseline's


class RanksComparison(RanksSummary):
    """The summary, with the numbers behind the parity."""

    errors: Optional[ReferenceErrors]  # None without a reference
    expected: Optional[Expected]  # the known difference behind a parity of "different"


class RanksParity(NamedTuple):
    """The verdict, its reason, and the known difference that explains it."""

    parity: str
    reason: str
    expected: Optional[Expected] = None


def compare_ranks(
    record: RunRecord,
    baseline: str,
    contender: str,
    ratio: Optional[Ratio],
    verdict: Tuple[str, str],
    accuracy_difference: Optional[float],
) -> Tuple[Optional[RanksComparison], Tuple[str, str]]:
    """The comparison, with the parity and its reason.

    A contender of one rank has no comparison and keeps `verdict`, the parity by weights, batches
    and losses of the two alone. In weak scaling the batches differ, so parity is not judged.
    """
    summary = summarize_ranks(record, baseline, contender, ratio)
    if summary is None:
        return None, verdict
    fields = summary.model_dump()
    if summary.weak:
        reason = "in weak scaling the batches of one process and of all ranks are of two sizes"
        return RanksComparison(**fields, errors=None, expected=None), (NOT_JUDGED, reason)
    ours, theirs = (record.of_kind(BlockEvent, name) for name in (baseline, contender))
    reference = next((one for one in record.document.contenders if one.reference), None)
    errors = None
    if reference is not None:
        errors = measure_errors(ours, theirs, record.of_kind(BlockEvent, reference.name))
    known = []
    for setup in record.of_kind(SetupEvent, contender)[:1]:
        oneflow = setup.environment.get("oneflow")
        known = find_known(setup.module_kinds or [], summary.strategy, oneflow)
    size = _measure_size(ours, theirs)
    judged = judge_ranks(verdict, errors, size, accuracy_difference, known)
    compared = RanksComparison(**fields, errors=errors, expected=judged.expected)
    return compared, (judged.parity, judged.reason)


def _measure_size(baseline: Sequence[BlockEvent], contender: Sequence[BlockEvent]) -> float:
    """The largest relative difference of the first losses; 0 without common losses."""
    sides = ([loss for block in side for loss in block.losses] for side in (baseline, contender))
    both = [(a, b) for a, b in zip(*sides) if a is not None and b is not None]
    if not both:
        return 0.0
    left, right = zip(*both[:COMPARED_STEPS])
    return measure_relative(right, left)


def measure_errors(
    baseline: Sequence[BlockEvent],
    contender: Sequence[BlockEvent],
    reference: Sequence[BlockEvent],
) -> Optional[ReferenceErrors]:
    """None if the three have no common steps, or if one of their losses is not finite."""
    sides = [
        [loss for block in side for loss in block.losses][:COMPARED_STEPS]
        for side in (baseline, contender, reference)
    ]
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


def judge_ranks(
    verdict: Tuple[str, str],
    errors: Optional[ReferenceErrors],
    size: float,
    accuracy_difference: Optional[float],
    known: Sequence[KnownDifference],
) -> RanksParity:
    """Judge ranks from the verdict on the two contenders and the errors against the reference.

    `size` is the largest relative difference from the baseline's losses. `known` are the entries
    that fit the model and the strategy. The verdict stays if there is no reference, or if the
    weights or the batches differ.
    """
    parity, reason = verdict
    if errors is not None and parity in _JUDGED[1:]:
        parity, reason = _judge_errors(errors, accuracy_difference)
    if parity == "different":
        entry = next((one for one in known if one.kind != _GRADIENT), None)
        if entry is not None:
            expected = Expected(id=entry.id, reason=entry.reason, link=entry.link, size=size)
            reason = f"{reason}; expected, by {size:.1e} of the baseline's: {entry.reason}"
            return RanksParity(parity, reason, expected)
    elif parity == "equal within rounding":
        entry = next((one for one in known if one.kind == _GRADIENT), None)
        if entry is not None:
            reason = f"{reason}; {entry.reason}"
    return RanksParity(parity, reason)


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


def find_known(
    kinds: Sequence[str], strategy: str, oneflow: Optional[str]
) -> List[KnownDifference]:
    """The entries that explain differences of a strategy for a model with modules of `kinds`."""
    present = [*kinds, _GRADIENT]
    return [
        entry
        for entry in load_known_differences()
        if any(entry.explains(LEVEL, strategy, kind, oneflow) for kind in present)
    ]
