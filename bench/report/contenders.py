"""Says several contenders against one baseline in words and tables, for terminal and Markdown.

A row a contender, so that the table grows downwards; what `report` says of two contenders follows
for each of them in the Markdown.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence

from .blocks import format_markdown, print_blocks
from .comparison import Comparison, ContenderSummary
from .extension import list_extension_blocks
from .speed import MISSING
from .tables import (
    contender_rows,
    difference_rows,
    markdown_contender_table,
    markdown_difference_table,
    markdown_footer,
    render_markdown,
    render_notes,
    render_terminal,
    render_verdict,
)

if TYPE_CHECKING:
    from rich.console import Console

STEP, SPEEDUP = "train step, ms", "speedup, training"
VERDICTS = ["", STEP, SPEEDUP, "speed", "parity"]
COSTS = ["", "eval step, ms", "compile, s", "accuracy, %", "peak memory, MiB"]
SHOWN_NAME = 20  # letters of a name that stay together in a narrow terminal


def verdict_rows(comparisons: Sequence[Comparison]) -> List[List[str]]:
    """The cells of VERDICTS: the baseline's row, and one for each contender against it."""
    baseline = comparisons[0].baseline
    rows = [[baseline.name, _find_own(baseline, STEP), MISSING, MISSING, MISSING]]
    for one in comparisons:
        speedup = dict(difference_rows(one))[SPEEDUP]
        step = _find_own(one.contender, STEP)
        parity = f"{one.parity} (expected)" if one.parity_expected else one.parity
        rows.append([one.contender.name, step, speedup, one.speed_verdict, parity])
    return rows


def cost_rows(comparisons: Sequence[Comparison]) -> List[List[str]]:
    """The cells of COSTS, of the baseline and of each contender."""
    return [
        [summary.name, *(_find_own(summary, title) for title in COSTS[1:])]
        for summary in list_summaries(comparisons)
    ]


def list_summaries(comparisons: Sequence[Comparison]) -> List[ContenderSummary]:
    """The baseline and the contenders."""
    return [comparisons[0].baseline, *(comparison.contender for comparison in comparisons)]


def _find_own(summary: ContenderSummary, title: str) -> str:
    """A value of `contender_rows` without its interval, and of the epochs the last."""
    words = dict(contender_rows(summary))[title].split(" ")
    return words[-1] if title.startswith("accuracy") else words[0]


def render_title(comparisons: Sequence[Comparison]) -> str:
    """What is compared."""
    baseline = comparisons[0].baseline
    names = ", ".join(comparison.contender.name for comparison in comparisons)
    return f"{baseline.model}: {names} against {baseline.name}"


def render_verdicts(comparisons: Sequence[Comparison]) -> List[str]:
    """For each contender its name and the two sentences of its verdict."""
    return [
        f"{comparison.contender.name}. " + render_verdict(comparison).replace("\n", " ")
        for comparison in comparisons
    ]


def list_notes(comparisons: Sequence[Comparison]) -> List[str]:
    """The notes of all, each once: the machine disturbs them alike."""
    notes = [note for comparison in comparisons for note in render_notes(comparison)]
    return list(dict.fromkeys(notes))


def render_contenders_terminal(comparisons: Sequence[Comparison], console: Console) -> None:
    """Two tables, and a verdict for each contender."""
    from rich.table import Table

    tables = [
        (render_title(comparisons), VERDICTS, verdict_rows(comparisons)),
        ("costs", COSTS, cost_rows(comparisons)),
    ]
    for title, columns, rows in tables:
        table = Table(title=title, title_justify="left")
        longest = max(len(row[0]) for row in rows)
        table.add_column("", overflow="fold", width=min(longest, SHOWN_NAME))
        for column in columns[1:]:
            whole = column == "speed"  # one word, which is not cut
            table.add_column(column, justify="right", overflow="fold", no_wrap=whole)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    statuses = {status for comparison in comparisons for status in comparison.status}
    if statuses != {"complete"}:
        console.print(f"Runs that did not complete are compared as far as they got: "
                      f"{', '.join(sorted(statuses))}.")  # fmt: skip
    for line in [*list_notes(comparisons), *render_verdicts(comparisons)]:
        console.print(line, soft_wrap=True, markup=False)


def render_contenders_markdown(
    comparisons: Sequence[Comparison], pictures: List[Path], unavailable: Dict[str, str]
) -> str:
    """The report as Markdown; pictures are linked by their names, PNG only."""
    lines = [f"# {render_title(comparisons)}", ""]
    lines += [f"- {verdict}" for verdict in render_verdicts(comparisons)]
    lines += ["", *(note + "  " for note in list_notes(comparisons)), ""]
    lines += [f"| {' | '.join(VERDICTS)} |", "|---|" + "---:|" * (len(VERDICTS) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in verdict_rows(comparisons)]
    lines += ["", format_markdown(list_extension_blocks(comparisons, unavailable))]
    lines += ["", *markdown_contender_table(list_summaries(comparisons))]
    for comparison in comparisons:
        lines += ["", *markdown_difference_table(comparison)]
    lines += [
        "",
        "The contenders share the processes of the baseline and of the control, and the 1 % of "
        "error of the strict intervals.",
        "",
        *markdown_footer(pictures),
    ]
    return "\n".join(lines)


def render_comparisons(
    comparisons: Sequence[Comparison],
    console: Console,
    unavailable: Optional[Dict[str, str]] = None,
) -> None:
    """One comparison or several, on the terminal; `unavailable` was left out of the run."""
    if len(comparisons) == 1 and comparisons[0].ranks is None:
        render_terminal(comparisons[0], console)
    else:
        render_contenders_terminal(comparisons, console)
    print_blocks(list_extension_blocks(comparisons, unavailable or {}), console)


def render_report(
    comparisons: Sequence[Comparison],
    pictures: List[Path],
    unavailable: Optional[Dict[str, str]] = None,
) -> str:
    """One comparison or several, as Markdown."""
    if len(comparisons) == 1 and comparisons[0].ranks is None:
        return render_markdown(comparisons[0], pictures)
    return render_contenders_markdown(comparisons, pictures, unavailable or {})


def dump_comparisons(comparisons: Sequence[Comparison]) -> str:
    """JSON: the comparison of one contender, a list of them for several."""
    dumped = [comparison.model_dump() for comparison in comparisons]
    return json.dumps(dumped[0] if len(dumped) == 1 else dumped, indent=1)
