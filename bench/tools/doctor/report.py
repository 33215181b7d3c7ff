"""Shows a diagnosis on the terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, List

from .result import ATTENTION, OK, Diagnosis

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {ATTENTION: "bold red", OK: "green"}
_WIDEST = 110  # columns; longer lines are hard to follow


def render_diagnosis(diagnosis: Diagnosis, console: Console) -> None:
    """The table of checks, then each finding with what it costs and what to do."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    width = min(console.width, _WIDEST)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), width=width)
    for title in ("check", "status"):
        table.add_column(title, no_wrap=True)
    table.add_column("evidence", overflow="fold", ratio=1)
    for check in diagnosis.checks:
        style = _STYLES.get(check.status, "yellow")
        table.add_row(check.name, f"[{style}]{check.status}[/]", escape(check.evidence))
    console.print(
        f"{diagnosis.python}, runtime {diagnosis.runtime}",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    console.print(table)
    for line in describe_findings(diagnosis, width):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def describe_findings(diagnosis: Diagnosis, width: int) -> List[str]:
    """Lines of plain text: every finding, or that there is none, and the time it took."""
    lines = []
    for check in diagnosis.list_attention():
        lines += _wrap(f"{check.name}: {check.consequence or 'see above'}", width, "")
        lines += _wrap(f"remedy: {check.remedy}", width, "  ")
    if not lines:
        unknown = [check.name for check in diagnosis.checks if check.status != OK]
        lines = ["Nothing needs attention."]
        if unknown:
            lines += _wrap(f"Not known: {', '.join(unknown)}.", width, "")
    return [*lines, f"{len(diagnosis.checks)} checks in {diagnosis.duration_s:.0f} s"]


def _wrap(text: str, width: int, indent: str) -> List[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
