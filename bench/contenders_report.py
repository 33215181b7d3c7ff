"""Says several contenders against one baseline in words and tables, for terminal and Markdown.

A row a contender, so that the table grows downwards; what `report` says of two contenders follows
for each of them in the Markdown.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence

from oneflow_bench.comparison import Comparison, ContenderSummary
from oneflow_bench.report import (
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
from oneflow_bench.speed_report import MISSING

if TYPE_CHECKING:
    from rich.console import Console

STEP, ACCURACY, MEMORY = "train step, ms", "accuracy, %", "peak memory, MiB"
SPEEDUP = "speedup, training"
TITLES = ["", STEP, SPEEDUP, "speed", "parity", ACCURACY, MEMORY]


def overview_rows(comparisons: Sequence[Comparison]) -> List[List[str]]:
    """The cells of TITLES: the baseline's row, and one for each contender against it."""
    rows = [_row(comparisons[0].baseline, MISSING, MISSING, MISSING)]
    for one in comparisons:
        speedup = dict(difference_rows(one))[SPEEDUP]
        rows.append(_row(one.contender, speedup, one.speed_verdict, one.parity))
    return rows


def _row(summary: ContenderSummary, speedup: str, speed: str, parity: str) -> List[str]:
    own = dict(contender_rows(summary))
    step, last_accuracy = own[STEP].split(" ")[0], own[ACCURACY].split(" ")[-1]
    return [summary.name, step, speedup, speed, parity, last_accuracy, own[MEMORY]]


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
    """One table and a verdict for each contender."""
    from rich.table import Table

    table = Table(title=render_title(comparisons), title_justify="left")
    for title in TITLES:
        table.add_column(title, justify="right" if title else "left", overflow="fold")
    for row in overview_rows(comparisons):
        table.add_row(*row)
    console.print(table)
    statuses = {status for comparison in comparisons for status in comparison.status}
    if statuses != {"complete"}:
        console.print(f"Runs that did not complete are compared as far as they got: "
                      f"{', '.join(sorted(statuses))}.")  # fmt: skip
    for line in [*list_notes(comparisons), *render_verdicts(comparisons)]:
        console.print(line, soft_wrap=True, markup=False)


def render_contenders_markdown(comparisons: Sequence[Comparison], pictures: List[Path]) -> str:
    """The report as Markdown; pictures are linked by their names, PNG only."""
    lines = [f"# {render_title(comparisons)}", ""]
    lines += [f"- {verdict}" for verdict in render_verdicts(comparisons)]
    lines += ["", *(note + "  " for note in list_notes(comparisons)), ""]
    lines += [f"| {' | '.join(TITLES)} |", "|---|" + "---:|" * (len(TITLES) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in overview_rows(comparisons)]
    summaries = [comparisons[0].baseline, *(c.contender for c in comparisons)]
    lines += ["", *markdown_contender_table(summaries)]
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


def render_comparisons(comparisons: Sequence[Comparison], console: Console) -> None:
    """One comparison or several, on the terminal."""
    if len(comparisons) == 1:
        render_terminal(comparisons[0], console)
    else:
        render_contenders_terminal(comparisons, console)


def render_report(comparisons: Sequence[Comparison], pictures: List[Path]) -> str:
    """One comparison or several, as Markdown."""
    if len(comparisons) == 1:
        return render_markdown(comparisons[0], pictures)
    return render_contenders_markdown(comparisons, pictures)


def dump_comparisons(comparisons: Sequence[Comparison]) -> str:
    """JSON: the comparison of one contender, a list of them for several."""
    dumped = [comparison.model_dump() for comparison in comparisons]
    return json.dumps(dumped[0] if len(dumped) == 1 else dumped, indent=1)
