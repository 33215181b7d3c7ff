"""A sweep as CSV, for other programs."""

from __future__ import annotations

import csv
import io
from typing import Any, Dict, Optional

from .document import MODES, Cell, SweepDocument, Value


def render_csv(document: SweepDocument) -> str:
    """One row a cell, in seconds and bytes; empty where nothing was measured."""
    stream = io.StringIO()
    fields = list(document.axes) + ["status", "reason", "record", "duration_s", "speedup"]
    fields += ["speedup_low", "speedup_high", "parity"]
    for mode in MODES:
        fields += [f"{mode}_step_time_s", f"{mode}_step_time_low_s", f"{mode}_step_time_high_s"]
        fields += [f"{mode}_compile_s", f"{mode}_first_step_s", f"{mode}_peak_rss_bytes"]
    writer = csv.DictWriter(stream, fields, lineterminator="\n")
    writer.writeheader()
    for cell in document.cells:
        writer.writerow(_csv_row(cell))
    return stream.getvalue()


def _csv_row(cell: Cell) -> Dict[str, Optional[Value]]:
    result = cell.result
    row: Dict[str, Any] = {**cell.values, "status": result.status if result else "not run"}
    if result is None:
        return row
    for name in ("reason", "record", "duration_s", "parity"):
        row[name] = getattr(result, name)
    if result.speedup:
        row["speedup"] = result.speedup.ratio
        row["speedup_low"], row["speedup_high"] = result.speedup.low, result.speedup.high
    for mode, side in result.modes.items():
        for name in ("compile_s", "first_step_s", "peak_rss_bytes"):
            row[f"{mode}_{name}"] = getattr(side, name)
        time = side.step_time_s
        if time:
            row[f"{mode}_step_time_s"] = time.median
            row[f"{mode}_step_time_low_s"], row[f"{mode}_step_time_high_s"] = time.low, time.high
    return row
