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

from ..parity.judge import KnownDifference, load_known_differences
from ..record.events import BlockEvent, SetupEvent
from ..record.run import RunRecord
from ..report.comparison import Comparison
from ..report.parity import NOT_JUDGED
from .summary import Expected, ReferenceErrors, summarize_ranks

COMPARED_STEPS = 20  # training amplifies any rounding, so later losses differ anyway
MULTIPLIER = 4.0
FLOOR = 1e-6
SMALLEST_LOSS = 1e-3
ACCURACY_TOLERANCE = 0.02  # of the last accuracy
LEVEL = "ranks"  # of the known differences
_GRADIENT = "gradient"  # kind of the entry that explains rounding

Losses = Sequence[Optional[float]]  # None: not finite


class RanksParity(NamedTuple):
    """The verdict, its reason, and the known difference that explains it."""

    parity: str
    reason: str
    expected: Optional[Expected] = None


def judge_comparison(record: RunRecord, comparison: Comparison) -> Comparison:
    """The comparison with the summary and the parity of its ranks.

    A contender of one rank keeps its comparison: by weights, batches and losses of the two alone.
    """
    sides = comparison.baseline.name, comparison.contender.name
    ranks = summarize_ranks(record, *sides, comparison.speedup)
    if ranks is None:
        return comparison
    ours, theirs = (_list_losses(record, name) for name in sides)
    references = [one.name for one in record.document.contenders if one.reference]
    errors = None
    if references and not ranks.weak:
        errors = measure_errors(ours, theirs, _list_losses(record, references[0]))
    if ranks.weak:
        reason = "in weak scaling the batches of one process and of all ranks are of two sizes"
        judged = RanksParity(NOT_JUDGED, reason)
    elif not (comparison.same_weights and comparison.same_batches):
        judged = RanksParity("inconclusive", comparison.parity_reason)
    else:
        known: List[KnownDifference] = []
        for setup in record.of_kind(SetupEvent, sides[1])[:1]:
            oneflow = setup.environment.get("oneflow")
            known = find_known(setup.module_kinds or [], ranks.strategy, oneflow)
        judged = judge_ranks(
            (comparison.parity, comparison.parity_reason),
            errors,
            measure_relative(theirs, ours),
            comparison.accuracy_difference,
            known,
        )
    update = {
        "parity": judged.parity,
        "parity_reason": judged.reason,
        "parity_expected": judged.expected is not None,
        "ranks": ranks.model_copy(update={"errors": errors, "expected": judged.expected}),
    }
    return comparison.model_copy(update=update)


def _list_losses(record: RunRecord, name: str) -> Losses:
    losses = [loss for block in record.of_kind(BlockEvent, name) for loss in block.losses]
    return losses[:COMPARED_STEPS]


def measure_errors(
    baseline: Losses, contender: Losses, reference: Losses
) -> Optional[ReferenceErrors]:
    """None if the three have no common steps, or if one of their losses is not finite."""
    steps = list(zip(baseline, contender, reference))
    if not steps or any(None in step for step in steps):
        return None
    error = measure_relative(baseline, reference)
    return ReferenceErrors(
        steps=len(steps),
        contender=measure_relative(contender, reference),
        baseline=error,
        allowed=MULTIPLIER * error + FLOOR,
    )


def measure_relative(losses: Losses, reference: Losses) -> float:
    """The largest relative difference from a reference, over the steps where both are finite."""
    pairs = [(x, r) for x, r in zip(losses, reference) if x is not None and r is not None]
    return max((abs(x - r) / max(abs(r), SMALLEST_LOSS) for x, r in pairs), default=0.0)


def judge_ranks(
    verdict: Tuple[str, str],
    errors: Optional[ReferenceErrors],
    size: float,
    accuracy_difference: Optional[float],
    known: Sequence[KnownDifference],
) -> RanksParity:
    """Judge ranks from the verdict on the two contenders and the errors against the reference.

    `size` is the largest relative difference from the baseline's losses. `known` are the entries
    that fit the model and the strategy. Another verdict than *not judged* stays, and so does that
    without a reference.
    """
    parity, reason = verdict
    if errors is not None and parity == NOT_JUDGED:
        parity, reason = _judge_errors(errors, accuracy_difference)
    if parity == "different":
        for entry in (one for one in known if one.kind != _GRADIENT):
            expected = Expected(id=entry.id, reason=entry.reason, link=entry.link, size=size)
            reason = f"{reason}. This was expected, by {size:.1e} of the baseline's: {entry.reason}"
            return RanksParity(parity, reason, expected)
    elif parity == "equal within rounding":
        causes = [f"The cause is known: {one.reason}" for one in known if one.kind == _GRADIENT]
        reason = ". ".join([reason, *causes[:1]])
    return RanksParity(parity, reason)


def _judge_errors(errors: ReferenceErrors, accuracy_difference: Optional[float]) -> Tuple[str, str]:
    said = (
        f"over the first {errors.steps} steps the losses are within {errors.contender:.1e} of one "
        f"process in float64. Those of the baseline are within {errors.baseline:.1e}"
    )
    if errors.contender > errors.allowed:
        return "different", f"{said}. The limit is {errors.allowed:.1e}"
    if accuracy_difference is not None and abs(accuracy_difference) > ACCURACY_TOLERANCE:
        points = abs(accuracy_difference) * 100
        return "different", f"{said}. But the last accuracies differ by {points:.1f} points"
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
