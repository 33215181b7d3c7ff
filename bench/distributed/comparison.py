"""A contender of several ranks set against one process: what is judged otherwise than of two."""

from __future__ import annotations

from typing import Optional, Tuple

from ..config import Contender
from ..record.run import BlockEvent, RunRecord, SetupEvent
from ..verdict.statistics import Ratio
from .parity import (
    COMPARED_STEPS,
    Expected,
    ReferenceErrors,
    find_known,
    judge_ranks,
    measure_errors,
    measure_relative,
)
from .summary import RanksSummary, summarize_ranks

NOT_JUDGED = "not judged"


class RanksComparison(RanksSummary):
    """The summary with what the parity rests on."""

    errors: Optional[ReferenceErrors]  # None where no reference was trained
    expected: Optional[Expected]  # the known difference behind a parity of "different"


def compare_ranks(
    record: RunRecord,
    baseline: str,
    contender: str,
    ratio: Optional[Ratio],
    verdict: Tuple[str, str],
    accuracy_difference: Optional[float],
) -> Tuple[Optional[RanksComparison], Tuple[str, str]]:
    """(None where the contender has one rank, the parity and its reason).

    `verdict` is the parity by weights, batches and losses of the two alone, which stays for one
    rank. In weak scaling the batches are not the same, and parity is not judged.
    """
    summary = summarize_ranks(record, baseline, contender, ratio)
    if summary is None:
        return None, verdict
    fields = summary.model_dump()
    if summary.weak:
        reason = "in weak scaling the batches of one process and of all ranks are of two sizes"
        return RanksComparison(**fields, errors=None, expected=None), (NOT_JUDGED, reason)
    ours, theirs = (record.of_kind(BlockEvent, name) for name in (baseline, contender))
    reference = _find_reference(record)
    errors = None
    if reference is not None:
        errors = measure_errors(ours, theirs, record.of_kind(BlockEvent, reference.name))
    setup = next(iter(record.of_kind(SetupEvent, contender)), None)
    known = []
    if setup is not None:
        oneflow = setup.environment.get("oneflow")
        known = find_known(setup.module_kinds or [], summary.word, oneflow)
    size = _measure_size(record, baseline, contender)
    judged = judge_ranks(verdict, errors, size, accuracy_difference, known)
    compared = RanksComparison(**fields, errors=judged.errors, expected=judged.expected)
    return compared, (judged.parity, judged.reason)


def _find_reference(record: RunRecord) -> Optional[Contender]:
    return next((one for one in record.document.contenders if one.reference), None)


def _measure_size(record: RunRecord, baseline: str, contender: str) -> float:
    """The largest relative difference of the first losses; 0 where there are no common ones."""
    ours, theirs = (
        [loss for block in record.of_kind(BlockEvent, name) for loss in block.losses]
        for name in (baseline, contender)
    )
    both = [(a, b) for a, b in zip(ours, theirs) if a is not None and b is not None]
    if not both:
        return 0.0
    left, right = zip(*both[:COMPARED_STEPS])
    return measure_relative(right, left)
