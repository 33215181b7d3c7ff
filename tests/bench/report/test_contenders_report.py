from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from records import create_events, create_record, create_speed_events
from rich.console import Console

from oneflow_bench.bench.report.comparison import compare_records
from oneflow_bench.bench.report.contenders import (
    cost_rows,
    dump_comparisons,
    render_comparisons,
    render_report,
    verdict_rows,
)

LONG = "graph-fuse_add_to_output"


def compare(*names, **third):
    sides = [
        create_events(names[0], 0.12, noise=0.01),
        create_events(names[1], 0.10, noise=0.01, compile_s=1.0),
        *(create_events(name, 0.10, noise=0.01, **third) for name in names[2:]),
    ]
    record = create_record(*sides, more=create_speed_events(0.12, 0.10, 0.12))
    return compare_records(record, record)


@pytest.fixture
def several():
    return compare("eager", "graph", LONG, loss_shift=0.1, correct=80)


def shown(comparisons, width=100):
    stream = io.StringIO()
    render_comparisons(comparisons, Console(file=stream, width=width))
    return stream.getvalue()


def test_every_contender_has_a_row_of_verdicts(several):
    baseline, graph, other = verdict_rows(several)
    assert baseline[0] == "eager" and baseline[2:] == ["-", "-", "-"]
    assert baseline[1].startswith("12") and "(" not in baseline[1]
    assert graph[0] == "graph" and graph[2].startswith("1.2") and "95 %" in graph[2]
    assert graph[3:] == ["faster", "identical"]
    assert other[0] == LONG and other[3:] == ["inconclusive", "different"]


def test_every_contender_has_a_row_of_costs(several):
    assert cost_rows(several) == [
        ["eager", "100.0", "0.00", "90.0", "400"],
        ["graph", "100.0", "1.00", "90.0", "400"],
        [LONG, "100.0", "0.00", "80.0", "400"],
    ]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_width_hides_a_name_or_a_verdict(several, width):
    text = shown(several, width)
    assert "…" not in text
    tables = [line for line in text.splitlines() if line[0] in "┏┃┡│└"]
    assert all(line[-1] in "┓┃┩│┘" and len(line) <= width for line in tables)
    for name, verdict in (("graph", "identical"), (LONG, "different")):
        assert f"{name}. Parity: {verdict}; " in text
    assert "Speed: faster; graph runs at 1.2" in text


def test_a_note_on_the_machine_is_said_once():
    names = ("eager", "graph", "third")
    record = create_record(
        *(create_events(name) for name in names), more=create_speed_events(major_faults=100)
    )
    comparisons = compare_records(record, record)
    for text in (shown(comparisons), render_report(comparisons, [])):
        assert text.count("pages were read from disk") == 1


def test_the_report_has_the_overview_and_every_comparison(several):
    text = render_report(several, [Path("x/loss.png"), Path("x/loss.svg")])
    assert text.startswith(f"# alexnet_cifar: graph, {LONG} against eager\n")
    assert f"| | eager | graph | {LONG} |" in text
    assert "| graph against eager | |" in text and f"| {LONG} against eager | |" in text
    assert "![loss](loss.png)" in text and "loss.svg" not in text
    header = next(line for line in text.splitlines() if line.startswith("|  |"))
    rows = [line for line in text.splitlines() if line.startswith(f"| {LONG} |")]
    assert header.count("|") == rows[0].count("|")


def test_one_contender_is_reported_as_ever():
    pair = compare("eager", "graph")
    assert "# alexnet_cifar: eager and graph" in render_report(pair, [])
    assert "graph against eager" in shown(pair)
    assert json.loads(dump_comparisons(pair))["parity"] == "identical"


def test_several_contenders_are_a_list_in_json(several):
    first, second = json.loads(dump_comparisons(several))
    assert (first["contender"]["name"], second["contender"]["name"]) == ("graph", LONG)
    assert second["parity"] == "different"


def test_a_run_that_was_cut_short_is_reported_so(several):
    cut = [one.model_copy(update={"status": ["interrupted"]}) for one in several]
    assert "compared as far as they got: interrupted" in shown(cut)
