from __future__ import annotations

from records import create_events, create_record, create_speed_events

from oneflow_bench.bench.report.comparison import compare_contenders
from oneflow_bench.bench.report.export.markdown import render
from oneflow_bench.bench.report.export.selection import select_contenders
from oneflow_bench.bench.report.tables import render_markdown


def test_a_comparison_is_the_report_without_pictures(record):
    text = render(select_contenders([record], None))
    comparison = compare_contenders(record, "eager", record, "graph")
    assert render_markdown(comparison, []) in text
    assert text.startswith("`test` (complete)\n")


def test_the_verdict_of_the_speed_phase_is_in_the_report():
    sides = create_events("eager"), create_events("graph")
    events = create_speed_events(contender=0.08)
    text = render(select_contenders([create_record(*sides, more=events)], None))
    assert "Speed: faster; graph runs at 1.2" in text and "control, eager against eager" in text


def test_every_contender_is_set_against_the_first():
    sides = [create_events(name) for name in ("eager", "graph", "tuned")]
    text = render(select_contenders([create_record(*sides)], None))
    assert text.count("# alexnet_cifar: eager and ") == 2
    assert "# alexnet_cifar: eager and tuned" in text


def test_one_contender_has_a_table(record):
    asked_for = render(select_contenders([record], "graph"))
    assert "# alexnet_cifar: graph\n\n| | graph |\n|---|---:|\n| train steps | 240 |" in asked_for
    alone = render(select_contenders([create_record(create_events("eager"))], None))
    assert "| | eager |" in alone
