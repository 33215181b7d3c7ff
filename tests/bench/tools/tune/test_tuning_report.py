from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from tuning_machine import Machine, create_request, list_files, option, variable

from oneflow_bench.bench.errors import InputError, RecordError, WorkerError
from oneflow_bench.bench.report.blocks import Table, format_markdown, print_blocks
from oneflow_bench.bench.tools.tune.candidates import Setting
from oneflow_bench.bench.tools.tune.report import (
    TuneDocument,
    draw_gain,
    format_result,
    list_bars,
    list_reasons,
    list_report,
    load_tuning,
)
from oneflow_bench.bench.tools.tune.search import run_search

STORED = Path(__file__).parents[4] / "results" / "runtime"


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """A search with something of everything."""
    folder = tmp_path_factory.mktemp("search")
    settings = [variable(f"{name}=1") for name in ("A", "B", "C", "WRONG", "CRASH")]
    settings += [variable("C=2"), *(variable(f"V{number}=1") for number in range(8))]
    machine = Machine(
        {"A=1": 1.5, "B=1": 1.3, "C=1": 1.2, "C=2": 1.1},
        errors={"WRONG=1": 0.5, "B=1": 2e-7},
        fail_at={"CRASH=1": ("train", 0, WorkerError("the worker died", "Illegal instruction"))},
        same_operators=["enable_amp=true"],
    )
    request = create_request({"eager": settings, "graph": [option("enable_amp"), *settings]}, 440.0)
    return run_search(
        request,
        folder,
        folder / "runtime.json",
        machine.launch,
        clock=machine.clock,
        judge=machine.judge,
    )


def show(blocks, width=80):
    stream = StringIO()
    print_blocks(blocks, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def join(text):
    return " ".join(text.split())


def test_the_terminal_says_the_result_and_why_the_others_left(document):
    text = show(list_report(document))
    assert "Parity with stock: equal within rounding over" in join(text)
    assert "WRONG=1: parity failed; a loss of its first steps is off by 5.0e-01" in text
    assert "CRASH=1: crashed; the worker died; it said: Illegal instruction" in text
    assert "enable_amp=true: no effect" in text
    assert "C=2 left the search: C=1 was taken in its place" in join(text)
    assert "for bench ... --runtime" in join(text) and "not searched" not in text
    assert max(map(len, text.splitlines())) <= 80
    alone = document.model_copy(update={"modes": document.modes[:1]})
    assert "(graph was not searched: stock)" in show(list_report(alone), 300)


def test_tables_have_every_candidate_and_every_confirmation(document):
    rows = [r for b in list_report(document) if isinstance(b, Table) for r in b.rows if len(r) == 4]
    expected = sum(len(mode.candidates) for mode in document.modes)
    assert len(rows) == expected > 30
    assert any(row[0] == "A=1" and row[2] == "screened" for row in rows)
    assert any(row[0] == "+ B=1" and row[2:] == ["faster", "rounding"] for row in rows)


def test_the_result_quotes_the_confirmation(document):
    mode = document.modes[0]
    low = mode.confirmed.speedup.low
    assert f"({low:.3f}-" in format_result(mode) and mode.chosen in format_result(mode)
    assert {setting.name for setting in mode.settings} >= {"A=1", "B=1"}


def test_markdown_has_tables_pictures_and_reasons(document, tmp_path):
    (picture, _) = draw_gain(document, tmp_path)
    assert list_files(tmp_path) == ["gain.png", "gain.svg"]
    text = format_markdown(list_report(document, [picture]))
    assert "](gain.png)" in text and "| A=1 | 1." in text and "| A=1 | to try |" in text
    assert "## eager, round 2: against A=1" in text
    assert not any(line.startswith("| ") and line.count("|") not in (3, 5)
                   for line in text.splitlines())  # fmt: skip


def test_the_picture_has_every_phase(document):
    bars = list_bars(document.modes[0])
    phases = list(dict.fromkeys(candidate.phase for candidate, _ in bars))
    assert phases[:3] == ["alone", "round 1", "round 2"] and phases[-1] == "confirmation"
    joined = next(interval for candidate, interval in bars if candidate.label == "+ B=1")
    assert joined.ratio == pytest.approx(1.3, rel=0.05)  # against the best so far


def test_nothing_found_and_nothing_measured_are_said_too(tmp_path):
    request = create_request({"eager": [variable("A=1")]}, budget_s=1.0)
    machine = Machine()
    document = run_search(
        request,
        tmp_path,
        tmp_path / "p.json",
        machine.launch,
        clock=machine.clock,
        judge=machine.judge,
    )
    assert "stock stays" in format_result(document.modes[0])
    assert "not tried, for lack of time (a longer --budget): A=1" in list_reasons(document.modes[0])
    assert "it sets nothing, which is stock" in show(list_report(document), 300)
    empty = document.model_copy(update={"modes": []})
    assert draw_gain(empty, tmp_path) == [] and list_report(empty)


def test_a_search_that_was_killed_has_no_result(document):
    mode = document.modes[0]
    alone = mode.of_phase("alone")[:2]
    killed = mode.model_copy(update={"reason": "", "chosen": None, "candidates": alone})
    text = join(show(list_report(document.model_copy(update={"modes": [killed]}))))
    assert "eager: no result, because the search did not finish; settings checked: 2." in text
    assert "stock stays" not in text


def test_a_blas_that_was_taken_is_named_and_no_profile_preloads_it(tmp_path):
    setting = Setting(name="--blas mkl", family="blas", why="to try", blas="mkl")
    machine, profile = Machine({"--blas mkl": 1.5}), tmp_path / "p.json"
    request = create_request({"eager": [setting]}, budget_s=100.0)
    made = {"clock": machine.clock, "judge": machine.judge}
    document = run_search(request, tmp_path, profile, machine.launch, **made)
    assert document.modes[0].chosen == "--blas mkl"
    assert "eager needs --blas mkl too" in show(list_report(document), 300)
    assert "mkl" not in profile.read_text() and "PRELOAD" not in profile.read_text()


def test_what_disturbed_a_confirmation_is_said_once(document):
    told = document.model_copy(deep=True)
    for mode in told.modes:
        for confirmation in mode.of_phase("confirmation"):
            confirmation.warnings = ["the machine was busy; end other work"]
    text = show(list_report(told), 300)
    assert text.count("Warning: the machine was busy; end other work.") == 1


def test_the_variables_of_the_shell_are_named(document):
    told = document.model_copy(update={"environment": {"OMP_NUM_THREADS": "3"}})
    assert "OMP_NUM_THREADS=3" in show(list_report(told), 300)


def test_a_document_of_another_version_or_none_is_refused(document, tmp_path):
    with pytest.raises(RecordError, match="bench tune"):
        load_tuning(tmp_path)
    other = document.model_dump_json().replace('"schema_version":2', '"schema_version":9')
    (tmp_path / "tune.json").write_text(other)
    with pytest.raises(InputError, match="schema version 9"):
        load_tuning(tmp_path)
    (tmp_path / "tune.json").write_text(document.model_dump_json())
    assert load_tuning(tmp_path) == TuneDocument.model_validate(document.model_dump())


@pytest.mark.parametrize("folder", sorted(STORED.glob("*/tune.json")), ids=lambda p: p.parent.name)
def test_searches_by_racing_stay_readable(folder, tmp_path):
    old = load_tuning(folder)
    assert all(mode.phases >= 1 for mode in old.modes)
    text = format_markdown(list_report(old))
    assert "alone: against stock" in text and "confirmation: against stock" in text
    assert draw_gain(old, tmp_path)
    left_out = [c for mode in old.modes for c in mode.of_phase("left out")]
    assert ("left out: against the whole" in text) == bool(left_out)
