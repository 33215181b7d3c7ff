"""The blocks of a report on contenders of several ranks.

Units change here: seconds to milliseconds, bytes to MB and MiB.
"""

from __future__ import annotations

from typing import List, Mapping, Optional, Sequence, Tuple

from ..report.blocks import Block, Heading, Table, Text
from ..report.comparison import Comparison
from ..report.format import INTERVAL, MISSING, format_mib, format_ms, format_number
from ..verdict.statistics import Ratio
from .summary import RanksSummary

Ranked = Sequence[Tuple[Comparison, RanksSummary]]
Rows = List[List[str]]


def list_rank_blocks(
    comparisons: Sequence[Comparison], unavailable: Mapping[str, str]
) -> List[Block]:
    """Tables of scaling, costs and parity, and notes; none if no contender has several ranks.

    `unavailable` maps contenders that were left out of the run to the reason.
    """
    ranked = [(one, one.ranks) for one in comparisons if isinstance(one.ranks, RanksSummary)]
    if not ranked:
        return []
    kind = "Weak" if ranked[0][1].weak else "Strong"
    blocks = [
        *_create_table(
            f"{kind} scaling against {ranked[0][0].baseline.name}",
            ["ranks", "step, ms", "speedup", "efficiency"],
            _list_scaling(ranked, unavailable),
        ),
        *_create_table(
            "Each rank, a step",
            ["sent, MB", "memory, MiB", "slowest/fastest", "worst", "cores"],
            [_list_costs(one, ranks) for one, ranks in ranked],
        ),
        *_create_table(
            "Losses against one process in float64",
            ["loss error", "the baseline's", "parity"],
            [_list_parity(one, ranks) for one, ranks in ranked if not ranks.weak],
        ),
    ]
    notes = [_explain_scaling(*ranked[0])]
    for one, ranks in ranked:
        notes += _list_notes(one, ranks)
    notes += [f"{name} is not available here: {why}." for name, why in unavailable.items()]
    return [*blocks, Text(list(dict.fromkeys(notes)))]


def _create_table(title: str, columns: List[str], rows: Rows) -> List[Block]:
    """A row for each contender; the first column is its name. Nothing without rows."""
    return [Heading(title), Table(["", *columns], rows, columns)] if rows else []


def _list_scaling(ranked: Ranked, unavailable: Mapping[str, str]) -> Rows:
    comparison, first = ranked[0]
    rows = [
        [
            one.contender.name,
            str(ranks.ranks),
            format_ms(ranks.step_time_s),
            _format_ratio(ranks.speedup),
            _format_ratio(ranks.efficiency),
        ]
        for one, ranks in ranked
    ]
    if first.efficiency is not None:  # the baseline is one process, and there is a speedup
        step = format_ms(first.baseline_step_time_s)
        rows.insert(0, [comparison.baseline.name, "1", step, MISSING, MISSING])
    left_out = [[name, MISSING, MISSING, "not available here", MISSING] for name in unavailable]
    return rows + left_out


def _list_costs(comparison: Comparison, ranks: RanksSummary) -> List[str]:
    sent, spread = ranks.communication.sent_bytes, ranks.spread
    counts = [len(each) for each in ranks.rank_cores or ()]
    return [
        comparison.contender.name,
        "not derived" if sent is None else f"{sent / 1e6:.3g}",
        _format_range([format_mib(peak) for peak in sorted(ranks.rank_peak_rss_bytes or ())]),
        format_number(spread.median if spread else None, ".3f"),
        format_number(spread.worst if spread else None, ".3f"),
        _format_range([str(count) for count in sorted(counts)]),
    ]


def _list_parity(comparison: Comparison, ranks: RanksSummary) -> List[str]:
    errors = ranks.errors
    return [
        comparison.contender.name,
        format_number(errors.contender if errors else None, ".1e"),
        format_number(errors.baseline if errors else None, ".1e"),
        describe_parity(comparison, ranks),
    ]


def describe_parity(comparison: Comparison, ranks: RanksSummary) -> str:
    """The verdict, with the name and size of the known difference that explains it."""
    expected = ranks.expected
    if expected is None:
        return comparison.parity
    return f"{comparison.parity} (expected: {expected.id}, {expected.size:.1e})"


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
    spread = ranks.spread
    if spread is not None:
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
