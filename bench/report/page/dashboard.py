"""A page over several runs: a row for each comparison, and the geometric means of the speedups."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import geometric_mean
from typing import Dict, List, Optional, Sequence
from urllib.parse import quote

from pydantic import BaseModel

from ...plan.modes import load_run
from ..before_after import compare_record
from ..format import MISSING, format_median_ms, format_short_interval
from . import PAGE_NAME
from .render import PARITY_ANSWERS, render_template

COMPLETE = "complete"  # the status of a row that may count


class Row(BaseModel):
    """A comparison, or a run that has none: of one mode, failed or unreadable."""

    run: str
    link: Optional[str] = None  # of the run's own page, relative to the dashboard
    created: str = MISSING
    model: str = MISSING
    pair: str = MISSING  # contender against baseline
    status: str
    error: Optional[str] = None
    baseline_ms: str = MISSING
    contender_ms: str = MISSING
    ratio: Optional[float] = None
    speedup: str = MISSING
    speed: str = MISSING
    parity: str = MISSING

    @property
    def counts(self) -> bool:
        """A speedup counts where the modes agree and the run is whole."""
        agree = PARITY_ANSWERS.get(self.parity, ("",))[0] == "good"
        return agree and self.ratio is not None and self.status == COMPLETE


def load_rows(folder: Path, home: Path) -> List[Row]:
    """The rows of a run; links are relative to `home`. Raises RecordError as `load_run`."""
    record = load_run(folder)
    document, page = record.document, folder / PAGE_NAME
    row = Row(
        run=folder.resolve().name,
        link=quote(os.fsencode(os.path.relpath(page, home))) if page.exists() else None,
        created=document.created[:16].replace("T", " "),
        model=document.workload.model,
        status=document.status,
        error=document.error,
    )
    comparisons = compare_record(record) if len(record.racing_names()) > 1 else []
    compared = [
        row.model_copy(
            update={
                "pair": f"{one.contender.name} against {one.baseline.name}",
                "baseline_ms": format_median_ms(one.baseline.train_step_time_s),
                "contender_ms": format_median_ms(one.contender.train_step_time_s),
                "ratio": one.speedup.ratio if one.speedup else None,
                "speedup": format_short_interval(one.speedup),
                "speed": one.speed_verdict,
                "parity": one.parity,
            }
        )
        for one in comparisons
    ]
    return compared or [row]


def summarize_rows(rows: Sequence[Row]) -> List[str]:
    """A sentence on each pair's speedups, and one on the rows that do not count."""
    ratios: Dict[str, List[float]] = {}
    for row in rows:
        if row.counts and row.ratio:
            ratios.setdefault(row.pair, []).append(row.ratio)
    lines = [
        f"Geometric mean of the speedups of {pair}: {geometric_mean(values):.3f}, of "
        f"{len(values)} comparison{'s' if len(values) > 1 else ''}."
        for pair, values in ratios.items()
    ]
    left_out = sum(not row.counts for row in rows)
    if left_out:
        lines.append(
            f"{left_out} of {len(rows)} rows are in no mean: the run is not complete, the modes do "
            "not agree, or nothing was compared."
        )
    return lines


def render_dashboard(rows: Sequence[Row], title: Optional[str] = None) -> str:
    """The page. A script sorts and filters the table; without one it is in the order given."""
    return render_template(
        "dashboard.html",
        title=title or f"{len({row.run for row in rows})} runs",
        summary=summarize_rows(rows),
        rows=rows,
        kinds={verdict: kind for verdict, (kind, _) in PARITY_ANSWERS.items()},
    )
