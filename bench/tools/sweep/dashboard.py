"""The page of a sweep: a row for each cell, sortable and filterable, with failures as failures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List
from urllib.parse import quote

from ...report.format import FEW_BLOCKS, format_median_ms, format_short_interval
from ...report.page import PAGE_NAME
from ...report.page.dashboard import COMPLETE, Row, render_dashboard
from .document import MODES, Cell, SweepDocument


def list_rows(document: SweepDocument, folder: Path, home: Path) -> List[Row]:
    """A row for each cell of the sweep in `folder`; links are relative to `home`."""
    return [_describe_cell(cell, folder, home) for cell in document.cells]


def _describe_cell(cell: Cell, folder: Path, home: Path) -> Row:
    model = str(cell.values["model"])
    result = cell.result
    if result is None:
        return Row(run=cell.name, model=model, status="not run")
    baseline, contender = MODES
    row = Row(
        run=cell.name,
        created=result.started[:16].replace("T", " "),
        model=model,
        pair=f"{contender} against {baseline}",
        status=COMPLETE if result.status == "done" else result.status,
        error=None if result.status == "done" else result.reason,
        baseline_ms=format_median_ms(cell.mode(baseline).step_time_s),
        contender_ms=format_median_ms(cell.mode(contender).step_time_s),
        ratio=cell.speedup.ratio if cell.speedup else None,
        speedup=format_short_interval(cell.speedup),
    )
    if result.status == "done" and (cell.speedup is None or cell.speedup.low is None):
        row.speedup = f"{row.speedup} ({FEW_BLOCKS})"
    if result.parity is not None:
        row.parity = result.parity
    page = folder / result.record / PAGE_NAME if result.record else None
    if page is not None and page.exists():
        row.link = quote(os.fsencode(os.path.relpath(page, home)))
    return row


def render_sweep_page(document: SweepDocument, folder: Path) -> str:
    """The page, for the sweep's own folder."""
    return render_dashboard(list_rows(document, folder, folder), f"Sweep {document.sweep_id}")
