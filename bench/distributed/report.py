"""The blocks of a report on contenders of several ranks.

Units change here: seconds to milliseconds, bytes to MB and MiB.
"""

from __future__ import annotations

from typing import List, Mapping, Optional, Sequence, Tuple

from ..report.blocks import Block, Heading, Table, Text
from ..report.comparison import Comparison
from ..report.format import MISSING
from ..verdict.statistics import CONFIDENCE, Ratio
from .summary import RanksSummary

_MEGA = 1e6
_MEBI = 2**20
_INTERVAL = f"{CONFIDENCE * 100:.0f} %"


def list_rank_blocks(
    comparisons: Sequence[Comparison], unavailable: Mapping[str, str]
) -> List[Block]:
    """Tables of scaling, costs and parity, and notes; none if no contender has several ranks.

    `unavailable` maps contenders that were left out of the run to the reason.
    """
    ranked = [one for one in comparisons if one.ranks is not None]
    if not ranked:
        return []
    blocks = [*_list_scaling(ranked, unavailable), *_list_costs(ranked)]
    judged = [one for one in ranked if not _of(one).weak]
    if judged:
        blocks += _list_parity(judged)
    return [*blocks, Text(_list_notes(ranked, unavailable))]


def _create_table(title: str, columns: List[str], rows: List[List[str]]) -> Tuple[Block, Block]:
    """A row for each contender; the first column is its name."""
    return Heading(title), Table(["", *columns], rows, columns)


def _of(comparison: Comparison) -> RanksSummary:
    assert isinstance(comparison.ranks, RanksSummary)
    return comparison.ranks


def _list_scaling(
    ranked: Sequence[Comparison], unavailable: Mapping[str, str]
) -> Tuple[Block, Block]:
    first = _of(ranked[0])
    kind = "Weak" if first.weak else "Strong"
    baseline = ranked[0].baseline.name
    rows = [[baseline, "1", _ms(first.baseline_step_time_s), MISSING, MISSING]]
    if first.efficiency is None:
        rows = []  # the baseline has several ranks itself, or there was nothing to compare
    for one in ranked:
        ranks = _of(one)
        rows.append(
            [
                one.contender.name,
                str(ranks.ranks),
                _ms(ranks.step_time_s),
                _ratio(ranks.speedup),
                _ratio(ranks.efficiency),
            ]
        )
    rows += [[name, MISSING, MISSING, "not available here", MISSING] for name in unavailable]
    columns = ["ranks", "step, ms", "speedup", "efficiency"]
    return _create_table(f"{kind} scaling against {baseline}", columns, rows)


def _list_costs(ranked: Sequence[Comparison]) -> Tuple[Block, Block]:
    rows = []
    for one in ranked:
        ranks = _of(one)
        sent, spread = ranks.communication.sent_bytes, ranks.spread
        rows.append(
            [
                one.contender.name,
                "not derived" if sent is None else f"{sent / _MEGA:.3g}",
                _memory(ranks.rank_peak_rss_bytes),
                MISSING if spread is None else f"{spread.median:.3f}",
                MISSING if spread is None else f"{spread.worst:.3f}",
                _cores(ranks.rank_cores),
            ]
        )
    columns = ["sent, MB", "memory, MiB", "slowest/fastest", "worst", "cores"]
    return _create_table("Each rank, a step", columns, rows)


def _list_parity(judged: Sequence[Comparison]) -> Tuple[Block, Block]:
    rows = []
    for one in judged:
        errors = _of(one).errors
        rows.append(
            [
                one.contender.name,
                MISSING if errors is None else f"{errors.contender:.1e}",
                MISSING if errors is None else f"{errors.baseline:.1e}",
                describe_parity(one),
            ]
        )
    columns = ["loss error", "the baseline's", "parity"]
    return _create_table("Losses against one process in float64", columns, rows)


def describe_parity(comparison: Comparison) -> str:
    """The verdict, with the name and size of the known difference that explains it."""
    expected = _of(comparison).expected
    if expected is None:
        return comparison.parity
    return f"{comparison.parity} (expected: {expected.id}, {expected.size:.1e})"


def _list_notes(ranked: Sequence[Comparison], unavailable: Mapping[str, str]) -> List[str]:
    """The explanations of the tables, each once."""
    notes = [_explain_scaling(ranked[0])]
    for one in ranked:
        notes += _list_own_notes(one)
    notes += [f"{name} is not available here: {why}." for name, why in unavailable.items()]
    return list(dict.fromkeys(notes))


def _explain_scaling(comparison: Comparison) -> str:
    ranks, name = _of(comparison), comparison.baseline.name
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
        f"Speedup is images a second over those of {name} in one process, with the {_INTERVAL} "
        f"interval. Efficiency is speedup over ranks. {batches}"
    )


def _list_own_notes(comparison: Comparison) -> List[str]:
    ranks, name = _of(comparison), comparison.contender.name
    notes = []
    if ranks.efficiency is not None and ranks.baseline_mode != comparison.contender.mode:
        notes.append(
            f"The efficiency of {comparison.contender.mode} contenders is against "
            f"{ranks.baseline_mode} mode in one process, so it includes the gain of the mode. "
            f"--baseline {comparison.contender.mode} excludes that gain."
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


def _ms(seconds: Optional[float]) -> str:
    return MISSING if seconds is None else f"{seconds * 1e3:.1f}"


def _ratio(ratio: Optional[Ratio]) -> str:
    if ratio is None:
        return MISSING
    if ratio.low is None or ratio.high is None:
        return f"{ratio.ratio:.2f}"
    return f"{ratio.ratio:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def _memory(peaks: Optional[Sequence[int]]) -> str:
    """The peak of all ranks, or its range."""
    if not peaks:
        return MISSING
    low, high = (f"{value / _MEBI:.0f}" for value in (min(peaks), max(peaks)))
    return low if low == high else f"{low} to {high}"


def _cores(cores: Optional[Sequence[Sequence[int]]]) -> str:
    """The number of cores of each rank, or its range."""
    if not cores:
        return MISSING
    counts = sorted({len(each) for each in cores})
    return " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
