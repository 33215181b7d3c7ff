from __future__ import annotations

import csv
import io

import pytest
from sweep_cells import create_mixed_sweep

from oneflow_bench.bench.tools.sweep.csv_report import render_csv


def test_the_csv_holds_every_cell_in_seconds_and_bytes():
    rows = list(csv.DictReader(io.StringIO(render_csv(create_mixed_sweep()))))
    assert len(rows) == 8
    first, failed, waiting = rows[0], rows[2], rows[7]
    assert float(first["eager_step_time_s"]) == pytest.approx(0.003)
    assert float(first["speedup_low"]) == pytest.approx(1.2 / 1.05)
    assert int(first["graph_peak_rss_bytes"]) == 300 * 2**20
    assert (failed["status"], failed["reason"]) == ("timeout", "it was timeout for a reason")
    assert failed["speedup"] == failed["eager_step_time_s"] == ""
    assert (waiting["status"], waiting["record"]) == ("not run", "")
