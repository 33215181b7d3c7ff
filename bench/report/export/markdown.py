"""Markdown: the report of each run, or the table of one contender."""

from __future__ import annotations

from typing import List, Sequence

from ..blocks import format_markdown
from ..compare import build_report, build_run_report
from ..comparison import compare_records
from .selection import Selected


def render(selected: Sequence[Selected]) -> str:
    """Each run as in its `report.md`, without pictures.

    A contender that was asked for by its name, or that ran alone, has its table.
    """
    parts: List[str] = []
    for one in selected:
        record = one.record
        title = f"`{record.document.run_id}` ({record.document.status})"
        if one.named or len(record.contender_names()) == 1:
            parts.append(f"{title}\n\n{format_markdown(build_run_report(one.summary))}")
        elif one.contender.name == record.contender_names()[0]:
            report = build_report(compare_records(record, record), record.document.unavailable)
            parts.append(f"{title}\n\n{format_markdown(report)}")
    return "\n".join(parts)
