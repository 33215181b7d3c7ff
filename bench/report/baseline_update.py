"""What rewriting a baseline changes, as blocks for the terminal. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import List, Optional, Tuple

from ..parity.baseline import Baseline
from ..parity.findings import compare_with_baseline
from .blocks import Block, Heading, Table, Text
from .check import format_pair


def report_update(old: Optional[Baseline], new: Baseline, path: Path) -> List[Block]:
    """What rewriting a baseline changes, metric by metric."""
    if old is None:
        lines = [f"The first baseline: {new.verdict}, {new.graph.graph_ops} graph operators."]
        return [Heading(f"{new.model}: {path}"), Text(lines)]
    rows = [
        [name, str(before), str(now), ""]
        for name, before, now in (
            ("OneFlow", old.oneflow, new.oneflow),
            ("BLAS kernel", old.blas_kernel, new.blas_kernel),
            ("machine", old.machine, new.machine),
            *_changed_fields(old, new),
        )
        if before != now
    ]
    rows += [
        [finding.subject, *format_pair(finding), finding.reason]
        for finding in compare_with_baseline(new, old)
        if finding.expected != finding.found
    ]
    heading = Heading(f"{new.model}: {path}")
    if not rows:
        return [heading, Text(["Nothing changes but its date."])]
    return [heading, Table(["metric", "old", "new", "reason"], rows)]


def _changed_fields(old: Baseline, new: Baseline) -> List[Tuple[str, str, str]]:
    before, now = old.workload.model_dump(), new.workload.model_dump()
    return [(name, str(before[name]), str(now[name])) for name in now if now[name] != before[name]]
