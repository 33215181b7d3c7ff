"""The summary of a comparison, of a run of one mode, and of two stored runs."""

from __future__ import annotations

from typing import List, Mapping, Optional, Sequence

from ...verdict.judge import INCONCLUSIVE
from ..before_after import BeforeAfter, build_runs_report
from ..blocks import Block, Heading, Table, Text
from ..compare import build_overview, build_table, conclude, describe_losses, list_notes
from ..comparison import Comparison, ContenderSummary
from ..extension import EXTENSIONS
from ..format import (
    MISSING,
    format_break_even,
    format_finite,
    format_median_ms,
    format_mib,
    format_number,
)
from ..parity import AGREED
from ..rows import Rows, list_measurements
from . import MOST_ROWS, cut_table

# rows of the report that a summary shows; metrics of the user's own take the places that are left
USUAL_ROWS = (
    *("loss, first to last", "accuracy by epoch, %", "train step, ms", "validation step, ms"),
    *("train images per second", "compile, s", "time to first step, s", "peak memory, MiB"),
)
OTHER_ROWS = (
    *("train steps", "best accuracy, %", "train accuracy, %", "teacher accuracy, %"),
    "first step, ms",
)
BREAK_EVEN = "compilation pays for itself"


def summarize_comparisons(
    comparisons: Sequence[Comparison], unavailable: Optional[Mapping[str, str]] = None
) -> List[Block]:
    """The verdicts, the rows that tell the sides apart, and what qualifies the verdicts.

    Several contenders have a line each, and a reason where a verdict could not be reached or the
    modes differ. `unavailable` are contenders that were left out of the run.
    """
    summaries = [comparisons[0].baseline, *(one.contender for one in comparisons)]
    names = ", ".join(one.name for one in summaries[1:])
    title = Heading(f"{summaries[0].model}: {names} against {summaries[0].name}")
    # of each extension the first heading and its table
    added = [b for one in EXTENSIONS for b in one.list_blocks(comparisons, unavailable or {})[:2]]
    notes = [Text(lines)] if (lines := list_notes(comparisons, brief=True)) else []
    if len(comparisons) > 1:
        reasons = [Text(lines)] if (lines := _list_reasons(comparisons)) else []
        overview = build_overview(comparisons)
        return [title, overview, *reasons, _build_costs(summaries), *added, *notes]
    (one,) = comparisons
    return [title, Text(conclude(one)), *_list_rows(summaries, one), *added, *notes]


def summarize_run(summary: ContenderSummary) -> List[Block]:
    """The summary of a run of one mode."""
    title = Heading(f"{summary.model}: {summary.name}")
    return [title, *describe_losses(summary), *_list_rows([summary])]


def summarize_runs(found: BeforeAfter) -> List[Block]:
    """The summary of two stored runs: verdicts, a line for each pair, and what else differs."""
    title, differences, pairs, notes, verdicts = build_runs_report(found, tables=False)
    return [title, verdicts, pairs, cut_table(differences), notes]


def _list_rows(
    summaries: Sequence[ContenderSummary], comparison: Optional[Comparison] = None
) -> List[Block]:
    """A column for each side, and at most ten rows."""
    measured = list(map(list_measurements, summaries))
    even = MISSING
    if comparison:
        even = format_break_even(comparison.break_even, comparison.speedup)
    wanted = len(USUAL_ROWS) + (even != MISSING)
    own = [name for name in measured[0] if name not in (*USUAL_ROWS, *OTHER_ROWS)]
    shown = own[: MOST_ROWS - wanted]
    kept = {*USUAL_ROWS, *shown}
    rows: List[Rows] = [{k: v for k, v in one.items() if k in kept} for one in measured]
    rows[-1][BREAK_EVEN] = even
    table = build_table([one.name for one in summaries], rows)
    left = len(own) - len(shown)
    more = [Text([f"{left} more metrics are in report.md; -v shows them"])] if left else []
    return [table, *more] if table.rows else []


def _list_reasons(comparisons: Sequence[Comparison]) -> List[str]:
    """The reasons of parities that do not agree, and of speeds without a verdict."""
    lines = []
    for one in comparisons:
        parity, speed = conclude(one, several=True)
        lines += [parity] if one.parity not in AGREED and not one.parity_expected else []
        lines += [speed] if one.speed and one.speed_verdict == INCONCLUSIVE else []
    return lines


def _build_costs(summaries: Sequence[ContenderSummary]) -> Table:
    """A line for each contender; the columns that tell contenders apart."""
    columns = ["", "validation step, ms", "compile, s", "accuracy, %", "peak memory, MiB"]
    rows = [
        [
            summary.name,
            format_median_ms(summary.eval_step_time_s),
            format_number(summary.compile_s, ".2f"),
            format_finite(summary.accuracy[-1], ".1f", 100) if summary.accuracy else MISSING,
            format_mib(summary.peak_rss_bytes),
        ]
        for summary in summaries
    ]
    return Table(columns, rows, columns[1:])
