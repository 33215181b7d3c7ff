from __future__ import annotations

import pytest
from markdown_it import MarkdownIt
from records import create_events, create_record, create_speed_events

from oneflow_bench.bench.report.before_after import compare_record
from oneflow_bench.bench.report.blocks import format_markdown
from oneflow_bench.bench.report.compare import build_report
from oneflow_bench.bench.report.export.selection import select_contenders
from oneflow_bench.bench.report.export.tables import render_markdown as render


def test_a_comparison_is_the_report_without_pictures(record):
    text = render(select_contenders([record], None))
    assert format_markdown(build_report(compare_record(record))) in text
    assert text.startswith("test (complete)  \n")


@pytest.mark.parametrize("code", ["`", "``", ""])
@pytest.mark.parametrize("contender", [None, "graph"])
def test_the_id_of_a_run_is_no_markup(record, contender, code):
    record.document.run_id = f"a`{code}<img src=x>{code}b*c*"
    html = MarkdownIt("commonmark").render(render(select_contenders([record], contender)))
    assert "&lt;img src=x&gt;" in html and "<img" not in html and "<em>" not in html


def test_the_verdict_of_the_speed_phase_is_in_the_report():
    sides = create_events("eager"), create_events("graph")
    events = create_speed_events(contender=0.08)
    text = render(select_contenders([create_record(*sides, more=events)], None))
    assert "Speed: faster. graph runs at 1.2" in text and "| control: the baseline" in text


def test_every_contender_is_set_against_the_first():
    sides = [create_events(name) for name in ("eager", "graph", "tuned")]
    text = render(select_contenders([create_record(*sides)], None))
    assert text.count("# alexnet\\_cifar: ") == 1
    assert "# alexnet\\_cifar: graph, tuned against eager" in text


def test_one_contender_has_a_table(record):
    asked_for = render(select_contenders([record], "graph"))
    assert (
        "# alexnet\\_cifar: graph\n\n|  | graph |\n| --- | ---: |\n| train steps | 240 |"
        in asked_for
    )
    alone = render(select_contenders([create_record(create_events("eager"))], None))
    assert "|  | eager |" in alone
