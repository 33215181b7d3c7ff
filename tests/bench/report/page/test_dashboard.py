from __future__ import annotations

import pytest
from checked_html import Page
from records import create_events, create_record, create_speed_events, save_record

from oneflow_bench.bench.report.page.dashboard import (
    Row,
    load_rows,
    render_dashboard,
    summarize_rows,
)

PAIR = "graph against eager"


def row(**update):
    whole = {"run": "a", "pair": PAIR, "status": "complete", "parity": "identical", "ratio": 2.0}
    return Row(**{**whole, **update})


def test_a_mean_is_geometric_and_holds_what_counts():
    rows = [row(), row(ratio=0.5, run="b"), row(ratio=9.0, parity="different")]
    rows += [row(ratio=9.0, status="failed"), row(ratio=None), row(pair="x against y", ratio=3.0)]
    lines = summarize_rows(rows)
    assert lines[0] == f"Geometric mean of the speedups of {PAIR}: 1.000, of 2 comparisons."
    assert lines[1] == "Geometric mean of the speedups of x against y: 3.000, of 1 comparison."
    assert lines[2].startswith("3 of 6 rows are in no mean")


@pytest.mark.parametrize("status", ["failed", "unreadable", "interrupted"])
def test_a_failure_is_shown_as_one(status):
    page = render_dashboard([row(), row(run="<b>", status=status, error="no <room>\nlog")])
    read = Page(page)
    assert f"{status}: no <room>" in read.text and "log" not in read.text.split("no <room>")[1][:9]
    assert {"class": "failed"} in read.of("td") and "<b>" in read.text
    assert read.list_requests() == []


def test_rows_are_read_from_runs(tmp_path):
    sides = [create_events("eager", 0.12), create_events("graph", 0.10)]
    record = create_record(*sides, more=create_speed_events(0.12, 0.10, 0.12))
    folder = save_record(record, tmp_path / "r\udce4 n")
    (folder / "report.html").touch()
    alone = save_record(create_record(create_events("eager")), tmp_path / "alone")
    rows = [*load_rows(folder, tmp_path), *load_rows(alone, tmp_path)]
    assert [one.status for one in rows] == ["complete", "complete"]
    assert rows[0].link == "r%E4%20n/report.html" and rows[1].link is None
    assert rows[0].speed == "faster" and rows[0].parity == "identical" and rows[0].counts
    assert not rows[1].counts
    links = Page(render_dashboard(rows)).of("a")
    assert links == [{"href": "r%E4%20n/report.html"}]
