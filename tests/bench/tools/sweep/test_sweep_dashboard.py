from __future__ import annotations

from sweep_cells import create_cell, create_mixed_sweep, create_result, create_sweep

from oneflow_bench.bench.report.page.dashboard import summarize_rows
from oneflow_bench.bench.tools.sweep.dashboard import list_rows, render_sweep_page


def test_each_cell_is_a_row_and_failures_are_shown_as_failures(tmp_path):
    rows = list_rows(create_mixed_sweep(), tmp_path, tmp_path)
    assert [row.status for row in rows].count("complete") == 6
    by_status = {row.status: row for row in rows}
    assert by_status["timeout"].error == "it was timeout for a reason"
    assert by_status["timeout"].speedup == "-" and by_status["not run"].error is None
    page = render_sweep_page(create_mixed_sweep(), tmp_path)
    assert "Sweep made-up" in page and "timeout: it was timeout for a reason" in page


def test_the_mean_holds_the_cells_whose_modes_agree(tmp_path):
    different = create_result(9.0, parity="different", parity_reason="they are far apart")
    cells = [
        create_cell("a", result=create_result(2.0)),
        create_cell("b", result=create_result(0.5)),
        create_cell("c", result=different),
        create_cell("d", result=create_result(status="failed")),
    ]
    first, second = summarize_rows(list_rows(create_sweep(*cells), tmp_path, tmp_path))
    assert "graph against eager: 1.000, of 2 comparisons" in first
    assert second.startswith("2 of 4 rows are in no mean")


def test_a_cell_that_has_a_page_is_linked_to_it(tmp_path):
    (tmp_path / "sweep" / "cells" / "a").mkdir(parents=True)
    (tmp_path / "sweep" / "cells" / "a" / "report.html").touch()
    cell = create_cell("a", result=create_result(record="cells/a"))
    (row,) = list_rows(create_sweep(cell), tmp_path / "sweep", tmp_path)
    assert row.link == "sweep/cells/a/report.html"
    (row,) = list_rows(create_sweep(create_cell("b", result=create_result())), tmp_path, tmp_path)
    assert row.link is None
