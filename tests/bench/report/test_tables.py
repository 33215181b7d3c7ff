from __future__ import annotations

import io
import re
from pathlib import Path

from records import create_events, create_record, create_speed_events
from rich.console import Console

from oneflow_bench.bench.record.run import RunRecord, SetupEvent
from oneflow_bench.bench.report.comparison import compare_contenders, summarize_contender
from oneflow_bench.bench.report.tables import (
    render_markdown,
    render_run,
    render_terminal,
    render_verdict,
)


def compare(**graph):
    record = create_record(
        create_events("eager", 0.12, noise=0.01),
        create_events("graph", 0.10, noise=0.01, **graph),
        max_abs=3e-9,
        more=create_speed_events(0.12, 0.10, 0.12),
    )
    return compare_contenders(record, "eager", record, "graph")


def shown(render, *arguments):
    stream = io.StringIO()
    render(*arguments, Console(file=stream, width=100))
    return stream.getvalue()


def test_the_terminal_says_both_answers():
    text = shown(render_terminal, compare(compile_s=2.0))
    assert "Parity: identical; the losses of all 240 steps are bitwise equal." in text
    assert re.search(r"Speed: faster; graph runs at 1\.(19|20)\d", text)
    assert "the whole interval is beyond 1 %" in text
    for row in ("control, eager against eager", "sequential interval", "warm-up steps of graph"):
        assert row in text
    for row in ("train images/s", "peak memory, MiB", "break-even", "smallest speed effect"):
        assert row in text


def test_a_small_difference_is_shown_as_what_it_is():
    text = shown(render_terminal, compare(loss_shift=3e-9))
    assert "3e-09" in text
    assert "0.0000" not in text
    assert "0 (bitwise equal)" in shown(render_terminal, compare())


def test_markdown_and_terminal_hold_the_same_rows():
    comparison = compare()
    markdown = render_markdown(comparison, [Path("x/loss.png"), Path("x/loss.svg")])
    assert "![loss](loss.png)" in markdown and "loss.svg" not in markdown
    for line in render_verdict(comparison).splitlines():
        assert line in markdown


def test_a_run_that_was_cut_short_is_reported_so():
    whole = create_record(create_events("eager"), create_events("graph"))
    whole.document.status = "interrupted"
    partial = RunRecord(whole.document, whole.events[:3])
    text = shown(render_terminal, compare_contenders(partial, "eager", partial, "graph"))
    assert "interrupted" in text
    assert "Speed: inconclusive" in text


def test_a_disturbed_machine_is_said_with_a_remedy():
    events = create_speed_events(0.12, 0.10, 0.12, major_faults=100)
    record = create_record(create_events("eager"), create_events("graph"), more=events)
    comparison = compare_contenders(record, "eager", record, "graph")
    for text in (render_markdown(comparison, []), shown(render_terminal, comparison)):
        assert "Warning: pages were read from disk" in text and "--batch-size" in text


def test_two_records_carry_the_caveat():
    left, right = create_record(create_events("eager")), create_record(create_events("graph"))
    text = render_verdict(compare_contenders(left, "eager", right, "graph"))
    assert "did not take turns" in text


def test_a_single_run_has_its_table():
    text = shown(render_run, summarize_contender(create_record(create_events("eager")), "eager"))
    assert "90.0 90.0" in text


def test_versions_are_said_where_they_differ():
    record = create_record(create_events("eager"), create_events("old"))
    versions = {"eager": "0.9.0", "old": "0.8.0"}
    for number, event in enumerate(record.events):
        if isinstance(event, SetupEvent):
            about = {"oneflow": versions[event.contender], "python": "3.10.1"}
            record.events[number] = event.model_copy(update={"environment": about})
    comparison = compare_contenders(record, "eager", record, "old")
    for text in (render_markdown(comparison, []), shown(render_terminal, comparison)):
        assert "eager: OneFlow 0.9.0, Python 3.10.1." in text
        assert "old: OneFlow 0.8.0, Python 3.10.1." in text
    assert "OneFlow" not in shown(render_terminal, compare())
