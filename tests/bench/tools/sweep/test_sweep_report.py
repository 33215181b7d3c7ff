from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console
from sweep_cells import create_cell, create_mixed_sweep, create_result, create_sweep

from oneflow_bench.bench.report.blocks import Table, format_markdown, print_blocks
from oneflow_bench.bench.tools.sweep.dashboard import list_rows
from oneflow_bench.bench.tools.sweep.document import format_csv, summarize_sweep
from oneflow_bench.bench.tools.sweep.growth import describe_growth, measure_growth
from oneflow_bench.bench.tools.sweep.report import describe_summary, report_sweep

SIZES = (1, 2, 4, 8)


def terminal(document, width=80):
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    print_blocks(report_sweep(document), console)
    return stream.getvalue()


def test_the_tables_fit_80_columns_without_cutting_a_number():
    text = terminal(create_mixed_sweep())
    assert max(map(len, text.splitlines())) <= 80
    for shown in (
        "1.200 (1.143-1.260)",
        "0.900 (0.857-0.945)",
        "timeout",
        "not run yet",
        "different",
    ):
        assert shown in text
    assert "densenet_cifar121" in text and "…" not in text
    assert "Geometric mean" in text


def test_the_mean_never_stands_without_what_was_left_out():
    lines = "\n".join(describe_summary(create_mixed_sweep()))
    assert "Cells: 6 of 8 done; 1 without a measurement (1 timeout); 1 not run yet." in lines
    assert "Parity of the cells done: 1 different, 5 identical." in lines
    assert "over 5 cells of 2 models" in lines and "for models like these" in lines
    assert "Left out of the mean: 2 cells" in lines
    summary = summarize_sweep(create_mixed_sweep())
    assert f"Counted as 1.0, the mean would be {summary.mean_if_one:.3f}" in lines
    assert f"counted as the worst measured (0.900), {summary.mean_if_worst:.3f}" in lines


def test_a_cell_of_too_few_blocks_says_so_in_its_row(tmp_path):
    alone = create_result(1.2).speedup.model_copy(update={"low": None, "high": None})
    results = [create_result().model_copy(update={"speedup": ratio}) for ratio in (alone, None)]
    document = create_sweep(*(create_cell(batch_size=s, result=r) for s, r in enumerate(results)))
    speed = next(block for block in report_sweep(document) if isinstance(block, Table))
    assert [row[4] for row in speed.rows] == ["1.200 (too few blocks)", "too few blocks"]
    shown = [row.speedup for row in list_rows(document, tmp_path, tmp_path)]
    assert shown == ["1.200 (too few blocks)", "- (too few blocks)"]


def test_one_model_is_said_to_speak_for_itself_alone():
    document = create_sweep(*(create_cell(batch_size=s, result=create_result()) for s in SIZES))
    text = " ".join(describe_summary(document))
    assert "for this model alone" in text and "No cell that was run is left out" in text
    alone = create_sweep(create_cell(result=create_result()))
    assert "one cell cannot give one" in " ".join(describe_summary(alone))
    nothing = create_sweep(create_cell(result=create_result(status="failed")))
    assert "none, since no cell has one" in " ".join(describe_summary(nothing))


def test_every_failure_stands_with_its_reason():
    cells = create_mixed_sweep().cells
    assert [f"{cell.name}: {cell.failure}" for cell in cells if cell.failure] == [
        "densenet_cifar121 batch_size=4: timeout; it was timeout for a reason",
        "densenet_cifar121 batch_size=8: parity different; they are far apart",
    ]


def test_curves_with_the_same_flaw_are_named_together():
    document = create_sweep(*(create_cell(batch_size=s, result=create_result()) for s in (1, 2)))
    (line,) = describe_growth(measure_growth(document))
    assert line.startswith("lenet eager step time, lenet graph step time, lenet eager peak memory")
    assert "and 1 more: no fit: 2 of the 3 batch sizes" in line
    assert "latency floor" not in terminal(document)  # no table of curves without a fit


def test_a_bad_fit_is_marked_in_its_row():
    times = dict(zip(SIZES, (0.01, 0.03, 0.012, 0.014)))
    cells = (create_cell(batch_size=s, result=create_result(eager_s=t)) for s, t in times.items())
    text = " ".join(terminal(create_sweep(*cells)).split())
    assert " % bad" in text and "misses a point by" in text


def test_markdown_holds_the_same_cells_and_the_pictures():
    document = create_mixed_sweep()
    pictures = [Path("a/speedups.png"), Path("b.svg")]
    text = format_markdown(report_sweep(document, pictures))
    assert "| resnet18 | 1 | 3 | 3.33 | 0.900 (0.857-0.945) | agree |" in text
    assert "| 3.000 (2.857-3.150) | differ |" in text
    assert "## Failures and bad fits" in text and "it was timeout for a reason" in text
    assert "![speedups](speedups.png)" in text and "b.svg" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in rows if "resnet18 | eager" in line}) == 1
    assert "| resnet18 | graph | no fit" not in text  # three batch sizes are enough


def test_the_csv_holds_every_cell_in_seconds_and_bytes():
    rows = list(csv.DictReader(io.StringIO(format_csv(create_mixed_sweep()))))
    assert len(rows) == 8
    first, failed, waiting = rows[0], rows[2], rows[7]
    assert float(first["eager_step_time_s"]) == pytest.approx(0.003)
    assert float(first["speedup_low"]) == pytest.approx(1.2 / 1.05)
    assert int(first["graph_peak_rss_bytes"]) == 300 * 2**20
    assert (failed["status"], failed["reason"]) == ("timeout", "it was timeout for a reason")
    assert failed["speedup"] == failed["eager_step_time_s"] == ""
    assert (waiting["status"], waiting["record"]) == ("not run", "")


def test_another_mode_is_not_taken_for_the_graph():
    result = create_result()
    result.modes["float64"] = result.modes.pop("graph")
    document = create_sweep(create_cell(result=result))
    assert "| lenet | 8 | 10 | - |" in format_markdown(report_sweep(document))
    assert [one.mode for one in measure_growth(document) if one.points] == ["eager"] * 2
