"""The part of a report on contenders of several ranks: their parity and blocks, an `Extension`.

Parity with one process is judged beside the same training in float64. With r the losses of that
reference and, over the first COMPARED_STEPS steps,

    e = max |baseline - r| / |r|        g = max |ranks - r| / |r|

the losses are *equal within rounding* if g <= MULTIPLIER e + FLOOR, else *different*. `bench check`
uses the same rule for several steps (`parity/difference.py`), with the RMS in place of the largest
relative error, and with a smaller floor: ranks add in another order. A loss nearer to 0 than
SMALLEST_LOSS counts as SMALLEST_LOSS.

Units change here: seconds to milliseconds, bytes to MB and MiB.
"""

from __future__ import annotations

from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..parity.judge import KnownDifference, load_known_differences
from ..record.run import RunRecord
from ..record.side import Side
from ..report.blocks import Block, Heading, Table, Text
from ..report.comparison import Comparison
from ..report.format import INTERVAL, MISSING, format_mib, format_ms, format_number
from ..report.parity import NOT_JUDGED
from ..verdict.statistics import Ratio
from .summary import Expected, RanksSummary, ReferenceErrors, list_values, summarize_ranks

COMPARED_STEPS = 20  # training amplifies any rounding, so later losses differ anyway
MULTIPLIER = 4.0
FLOOR = 1e-6
SMALLEST_LOSS = 1e-3
ACCURACY_TOLERANCE = 0.02  # of the last accuracy
LEVEL = "ranks"  # of the known differences
_GRADIENT = "gradient"  # kind of the entry that explains rounding

Losses = Sequence[Optional[float]]  # None: not finite
Ranked = Sequence[Tuple[Comparison, RanksSummary]]


class RanksParity(NamedTuple):
    """The verdict, its reason, and the known difference that explains it."""

    parity: str
    reason: str
    expected: Optional[Expected] = None


def extend(record: RunRecord, comparison: Comparison) -> Comparison:
    """The comparison with the summary and the parity of its ranks.

    A contender of one rank keeps its comparison: by weights, batches and losses of the two alone.
    """
    ranks = summarize_ranks(record, comparison)
    if ranks is None:
        return comparison
    baseline, name = comparison.baseline.name, comparison.contender.name
    references = [one.name for one in record.document.contenders if one.reference]
    ours, theirs, *exact = (
        Side(record, one).list_losses()[:COMPARED_STEPS] for one in (baseline, name, *references)
    )
    errors = measure_errors(ours, theirs, exact[0]) if exact else None
    if ranks.weak:
        reason = "in weak scaling the batches of one process and of all ranks are of two sizes"
        judged = RanksParity(NOT_JUDGED, reason)
    elif not (comparison.same_weights and comparison.same_batches):
        judged = RanksParity("inconclusive", comparison.parity_reason)
    else:
        kinds: List[str] = next(iter(list_values(record, name, "module_kinds")), [])
        known = find_known(kinds, ranks.strategy, comparison.contender.oneflow)
        size, accuracy = measure_relative(theirs, ours), comparison.accuracy_difference
        verdict = (comparison.parity, comparison.parity_reason)
        judged = judge_ranks(verdict, errors, size, accuracy, known)
    update = {
        "parity": judged.parity,
        "parity_reason": judged.reason,
        "parity_expected": judged.expected is not None,
        "ranks": ranks.model_copy(update={"errors": errors, "expected": judged.expected}),
    }
    return comparison.model_copy(update=update)


def measure_errors(ours: Losses, theirs: Losses, reference: Losses) -> Optional[ReferenceErrors]:
    """None if the three have no common steps, or if one of their losses is not finite."""
    steps = list(zip(ours, theirs, reference))
    if not steps or any(None in step for step in steps):
        return None
    error = measure_relative(ours, reference)
    return ReferenceErrors(
        steps=len(steps),
        contender=measure_relative(theirs, reference),
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
        points = f"{abs(accuracy_difference) * 100:.1f} points"
        return "different", f"{said}. But the last accuracies differ by {points}"
    return "equal within rounding", said


def find_known(
    kinds: Sequence[str], strategy: str, oneflow: Optional[str]
) -> List[KnownDifference]:
    """The entries that explain differences of a strategy for a model with modules of `kinds`."""
    return [
        entry
        for entry in load_known_differences()
        if any(entry.explains(LEVEL, strategy, kind, oneflow) for kind in (*kinds, _GRADIENT))
    ]


def list_blocks(comparisons: Sequence[Comparison], unavailable: Mapping[str, str]) -> List[Block]:
    """Tables of scaling, costs and parity, and notes; none if no contender has several ranks.

    `unavailable` maps contenders that were left out of the run to the reason.
    """
    ranked = [(one, one.ranks) for one in comparisons if isinstance(one.ranks, RanksSummary)]
    if not ranked:
        return []
    kind = "Weak" if ranked[0][1].weak else "Strong"
    tables = {
        f"{kind} scaling against {ranked[0][0].baseline.name}": (
            ["ranks", "step, ms", "speedup", "efficiency"],
            _list_scaling(ranked, unavailable),
        ),
        "Each rank, a step": (
            ["sent, MB", "memory, MiB", "slowest/fastest", "worst", "cores"],
            [_list_costs(one, ranks) for one, ranks in ranked],
        ),
        "Losses against one process in float64": (
            ["loss error", "the baseline's", "parity"],
            [_list_parity(one, ranks) for one, ranks in ranked if not ranks.weak],
        ),
    }
    blocks: List[Block] = []
    for title, (columns, rows) in tables.items():
        blocks += [Heading(title), Table(["", *columns], rows, columns)] if rows else []
    notes = [_explain_scaling(*ranked[0])]
    for one, ranks in ranked:
        notes += _list_notes(one, ranks)
    notes += [f"{name} is not available here: {why}." for name, why in unavailable.items()]
    return [*blocks, Text(list(dict.fromkeys(notes)))]


def _list_scaling(ranked: Ranked, unavailable: Mapping[str, str]) -> List[List[str]]:
    comparison, first = ranked[0]
    rows = []
    if first.efficiency is not None:  # the baseline is one process, and there is a speedup
        step = format_ms(first.baseline_step_time_s)
        rows.append([comparison.baseline.name, "1", step, MISSING, MISSING])
    for one, ranks in ranked:
        ratios = [_format_ratio(ratio) for ratio in (ranks.speedup, ranks.efficiency)]
        rows.append([one.contender.name, str(ranks.ranks), format_ms(ranks.step_time_s), *ratios])
    left_out = [[name, MISSING, MISSING, "not available here", MISSING] for name in unavailable]
    return rows + left_out


def _list_costs(comparison: Comparison, ranks: RanksSummary) -> List[str]:
    sent, spread = ranks.communication.sent_bytes, ranks.spread
    counts = sorted(map(len, ranks.rank_cores or ()))
    return [
        comparison.contender.name,
        "not derived" if sent is None else f"{sent / 1e6:.3g}",
        _format_range([format_mib(peak) for peak in sorted(ranks.rank_peak_rss_bytes or ())]),
        format_number(spread.median if spread else None, ".3f"),
        format_number(spread.worst if spread else None, ".3f"),
        _format_range([str(count) for count in counts]),
    ]


def _list_parity(comparison: Comparison, ranks: RanksSummary) -> List[str]:
    """The errors and the verdict, with the known difference that explains it."""
    errors, expected = ranks.errors, ranks.expected
    known = f" (expected: {expected.id}, {expected.size:.1e})" if expected else ""
    return [
        comparison.contender.name,
        format_number(errors.contender if errors else None, ".1e"),
        format_number(errors.baseline if errors else None, ".1e"),
        comparison.parity + known,
    ]


def _explain_scaling(comparison: Comparison, ranks: RanksSummary) -> str:
    name = comparison.baseline.name
    if ranks.speedup is None:
        return (
            "Speedup and efficiency are not known, because no steady steps of both contenders were "
            "measured. Leave --no-speed out, or give more --steps-per-epoch."
        )
    if ranks.efficiency is None:
        return f"{name} has several ranks itself, so there is no efficiency against one rank."
    batches = (
        f"One process takes {ranks.baseline_batch_size} images a step, as each rank does, and all "
        f"ranks together {ranks.batch_size}."
        if ranks.weak
        else f"One process takes {ranks.batch_size} images a step, as all ranks together do."
    )
    return (
        f"Speedup is images a second over those of {name} in one process, with the {INTERVAL} "
        f"interval. Efficiency is speedup over ranks. {batches}"
    )


def _list_notes(comparison: Comparison, ranks: RanksSummary) -> List[str]:
    name, mode, notes = comparison.contender.name, comparison.contender.mode, []
    if ranks.efficiency is not None and ranks.baseline_mode != mode:
        notes.append(
            f"The efficiency of {mode} contenders is against {ranks.baseline_mode} mode in one "
            f"process, so it includes the gain of the mode. --baseline {mode} excludes that gain."
        )
    if ranks.communication.sent_bytes is None:
        notes.append(f"{name}: bytes sent not derived: {ranks.communication.basis}.")
    if (spread := ranks.spread) is not None:
        notes.append(
            f"{name}: rank {spread.slowest_rank} was the slowest in "
            f"{spread.slowest_share * 100:.0f} % of {spread.blocks} blocks."
        )
    if ranks.errors is None and not ranks.weak:
        notes.append(
            f"{name}: no reference in float64 was trained beside it, or its losses are not finite."
        )
    return notes


def _format_ratio(ratio: Optional[Ratio]) -> str:
    if ratio is None:
        return MISSING
    if ratio.low is None or ratio.high is None:
        return f"{ratio.ratio:.2f}"
    return f"{ratio.ratio:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def _format_range(ordered: Sequence[str]) -> str:
    """The first and the last value, as one if they are equal."""
    return " to ".join(dict.fromkeys([ordered[0], ordered[-1]])) if ordered else MISSING
