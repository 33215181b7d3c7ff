"""The report of `bench check --health`."""

from __future__ import annotations

from typing import List

from ...report.blocks import Block, Heading, Table, Text
from .run import HealthDocument, ModelHealth


def report_health(document: HealthDocument) -> List[Block]:
    """A table for each model, with a row for each aspect and a column for each mode."""
    blocks: List[Block] = []
    for health in document.models:
        blocks.append(Heading(f"{health.workload.model}: {describe_verdict(health)}"))
        if health.error is not None:
            blocks.append(Text([health.error]))
        if health.findings:
            blocks.append(_tabulate(health))
    return blocks


def describe_verdict(health: ModelHealth) -> str:
    """One word or two."""
    if health.error is not None:
        return "not examined"
    return "healthy" if health.healthy else "unhealthy"


def _tabulate(health: ModelHealth) -> Table:
    modes = [found.mode for found in health.modes]
    cells = {(one.aspect, one.mode): one for one in health.findings}
    rows = []
    for aspect in dict.fromkeys(one.aspect for one in health.findings):
        found = [cells[aspect, mode] for mode in modes]
        judged = [one.healthy for one in found]
        word = "no" if False in judged else "not judged" if None in judged else "yes"
        rows.append([aspect, *(one.value for one in found), word])
    return Table(["", *modes, "healthy"], rows)
