"""Markdown: the report of each run, or the table of one contender."""

from __future__ import annotations

from typing import List, Sequence

from ..comparison import compare_contenders
from ..tables import contender_rows, render_markdown
from .selection import Selected


def render(selected: Sequence[Selected]) -> str:
    """Each run's contenders against its first, as `report.md` has them, without pictures.

    A contender on its own has its table.
    """
    parts: List[str] = []
    for one in selected:
        record = one.record
        baseline = record.contender_names()[0]
        title = f"`{record.document.run_id}` ({record.document.status})"
        if one.named or len(record.contender_names()) == 1:
            parts.append(f"{title}\n\n{_render_contender(one)}")
        elif one.contender.name != baseline:
            comparison = compare_contenders(record, baseline, record, one.contender.name)
            parts.append(f"{title}\n\n{render_markdown(comparison, [])}")
    return "\n".join(parts)


def _render_contender(selected: Selected) -> str:
    summary = selected.summary
    lines = [f"# {summary.model}: {summary.name}", "", f"| | {summary.name} |", "|---|---:|"]
    lines += [f"| {what} | {value} |" for what, value in contender_rows(summary)]
    return "\n".join(lines) + "\n"
