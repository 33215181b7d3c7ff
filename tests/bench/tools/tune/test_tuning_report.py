from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from tuning_machine import Machine, create_request, list_files, option, variable

from oneflow_bench.bench.errors import InputError, RecordError, WorkerError
from oneflow_bench.bench.tools.tune.plot import list_bars, render_tuning_picture
from oneflow_bench.bench.tools.tune.report import (
    closing_lines,
    headline,
    label_candidates,
    mode_tables,
    reason_lines,
    render_markdown,
    render_settings,
    render_terminal,
)
from oneflow_bench.bench.tools.tune.result import TuneDocument, load_tuning
from oneflow_bench.bench.tools.tune.run import run_search


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """A search with something of everything."""
    folder = tmp_path_factory.mktemp("search")
    settings = [variable(f"{name}=1") for name in ("A", "B", "C", "WRONG", "CRASH")]
    settings += [variable("C=2"), option("enable_amp")]
    machine = Machine(
        {"A=1": 1.5, "B=1": 1.3, "C=1": 1.2, "C=2": 1.1},
        errors={"WRONG=1": 1e-3, "B=1": 2e-7},
        fail_at={"CRASH=1": ("train", 0, WorkerError("the worker died", "Illegal instruction"))},
        same_operators=["enable_amp=true"],
    )
    request = create_request({"eager": settings[:-1], "graph": settings})
    return run_search(
        request, folder, folder / "runtime.json", machine.launchers(), clock=machine.clock
    )


def show(document, width=80):
    stream = StringIO()
    render_terminal(document, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def test_the_terminal_says_what_was_found_and_why_the_rest_was_dropped(document):
    text = show(document)
    assert "Parity with stock: equal within rounding over" in text
    assert "WRONG=1: parity failed; loss curve: losses to step 1" in text
    assert "CRASH=1: crashed; the worker died; it said: Illegal instruction" in text
    assert "enable_amp=true: no effect" in text
    assert "for bench ... --runtime" in text and "not searched" not in text
    alone = document.model_copy(update={"modes": document.modes[:1]})
    assert "(graph was not searched: stock)" in closing_lines(alone)[0]
    tables = [line for line in text.splitlines() if " faster " in line or "──" in line]
    assert tables and max(map(len, tables)) <= 80


def test_tables_have_every_candidate_and_every_confirmation(document):
    for mode in document.modes:
        rows = [row for table in mode_tables(mode) for row in table.rows]
        assert len(rows) == len(mode.candidates) + len(mode.confirmations)


def test_a_climb_is_told_step_by_step(document):
    together = document.modes[0].of_phase("together")
    assert [c.name for c in together] == ["A=1 B=1", "A=1 B=1 C=1"]
    assert label_candidates(together) == ["A=1 B=1", "+ C=1"]


def test_the_headline_quotes_the_confirmation(document):
    mode = document.modes[0]
    low = mode.confirmations[0].judgement.speedup.low
    assert f"({low:.3f}-" in headline(mode) and mode.chosen in headline(mode)
    assert mode.settings and {s.name for s in mode.settings} == {"A=1", "B=1", "C=1"}


def test_markdown_has_tables_pictures_and_reasons(document, tmp_path):
    pictures = render_tuning_picture(document, tmp_path)
    assert list_files(tmp_path) == ["gain.png", "gain.svg"]
    text = render_markdown(document, pictures)
    assert "![gain](gain.png)" in text and "| A=1 | 1." in text
    assert "## eager: what was dropped and why" in text and "| A=1 | to try |" in text
    assert not any(line.startswith("| ") and line.count("|") not in (3, 5)
                   for line in text.splitlines())  # fmt: skip


def test_the_picture_has_each_alone_together_left_out_and_confirmed(document):
    groups = [bar.group for bar in list_bars(document.modes[0])]
    assert sorted(set(groups), key=groups.index) == ["alone", "together", "left out", "confirmed"]
    left_out = next(bar for bar in list_bars(document.modes[0]) if bar.label == "without A=1")
    assert left_out.interval.ratio == pytest.approx(1.3 * 1.2, rel=0.05)  # over stock


def test_nothing_found_and_nothing_measured_are_said_too(tmp_path):
    request = create_request({"eager": [variable("A=1")]}, budget_s=1.0)
    machine = Machine()
    document = run_search(
        request, tmp_path, tmp_path / "p.json", machine.launchers(), clock=machine.clock
    )
    assert "stock stays" in headline(document.modes[0])
    assert any("not tried, for want of time" in line for line in reason_lines(document.modes[0]))
    assert "it sets nothing, which is stock" in closing_lines(document)[0]
    empty = document.model_copy(update={"modes": []})
    assert render_tuning_picture(empty, tmp_path) == [] and render_markdown(empty, [])


def test_what_disturbed_a_confirmation_is_said_once(document):
    told = document.model_copy(deep=True)
    for mode in told.modes:
        for confirmation in mode.confirmations:
            confirmation.warnings = ["the machine was busy; end other work"]
    assert closing_lines(told).count("Warning: the machine was busy; end other work.") == 1


def test_what_the_shell_had_is_named(document):
    told = document.model_copy(update={"environment": {"OMP_NUM_THREADS": "3"}})
    assert "OMP_NUM_THREADS=3" in closing_lines(told)[0]


def test_a_document_of_another_version_or_none_is_refused(document, tmp_path):
    with pytest.raises(RecordError, match="bench tune"):
        load_tuning(tmp_path)
    other = document.model_dump_json().replace('"schema_version":1', '"schema_version":9')
    (tmp_path / "tune.json").write_text(other)
    with pytest.raises(InputError, match="schema version 9"):
        load_tuning(tmp_path)
    (tmp_path / "tune.json").write_text(document.model_dump_json())
    assert load_tuning(tmp_path) == TuneDocument.model_validate(document.model_dump())


def test_long_names_break_where_a_reader_would(document):
    stream = StringIO()
    setting = variable("ONEFLOW_KERNEL_DISABLE_BLOB_ACCESS_CHECKER=1")
    render_settings("graph", [setting], Console(file=stream, width=80, color_system=None))
    assert "ONEFLOW_KERNEL_DISABLE_BLOB_ " in stream.getvalue()
