from __future__ import annotations

import json
import re
from functools import partial

import pytest
import runtime_study
from runtime_study import list_missing, parse_options
from runtime_study_report import render_report
from study import load_rows
from tuning_machine import Machine, variable

from oneflow_bench.bench.errors import WorkerError


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Options of a study of lenet on a made-up machine, and the machine."""
    machine = Machine({"A=1": 1.5, "B=1": 1.2}, errors={"A=1": 2e-7})
    settings = [variable("A=1"), variable("B=1")]
    judged = partial(runtime_study.run_search, judge=machine.judge)
    monkeypatch.setattr(runtime_study, "run_search", judged)
    monkeypatch.setattr(runtime_study, "list_settings", lambda mode, feed, facts: settings)
    arguments = ["--out", str(tmp_path), "--model", "lenet", "--budget", "200", "--steps", "12"]
    return parse_options(arguments), machine


def run(study):
    options, machine = study
    # the scripted clock is not the search's own: its budget is never used up
    runtime_study.run_study(options, lambda folder: machine.launch)


def test_each_result_is_stored_and_the_report_is_of_what_is_stored(study, tmp_path):
    run(study)
    assert list_missing(["lenet"], tmp_path) == []
    report = render_report(tmp_path)
    assert re.search(r"\| lenet \| eager \| 1\.(7[5-9]|8[0-5])", report)
    assert "| faster | A=1 B=1 |" in report
    assert re.search(r"\| lenet \| graph \| A=1 \| 1\.(4[5-9]|5[0-5])", report)
    # the second figure is of real lenet, so it depends on the processor's kernels
    assert re.search(r"\| lenet \| eager \| 12 \| 2\.0e-07 \| \d\.\de-0\d \| no \|", report)
    assert (tmp_path / "lenet" / "gain.png").exists()


def test_it_goes_on_where_it_stopped(study, tmp_path):
    options, machine = study
    run(study)
    stored = load_rows(tmp_path / "losses.jsonl")
    kept = json.dumps(stored[0]) + "\n" + '{"model": "len'  # killed while the second was written
    (tmp_path / "losses.jsonl").write_text(kept)
    assert [unit[1:] for unit in list_missing(["lenet"], tmp_path)] == [("losses.jsonl", "graph")]
    before = len(machine.workers)
    run(study)
    assert load_rows(tmp_path / "losses.jsonl") == stored
    assert len(machine.workers) == before + 2  # stock and tuned of one mode


def test_a_failure_keeps_what_was_stored(study, tmp_path):
    options, machine = study
    run(study)
    (tmp_path / "losses.jsonl").unlink()
    machine.fail_at["A=1"] = ("train", 0, WorkerError("no"))
    with pytest.raises(WorkerError):
        run(study)
    assert [unit.mode for unit in list_missing(["lenet"], tmp_path)] == ["eager", "graph"]


def test_nothing_stored_is_said(tmp_path):
    assert "nothing is stored" in render_report(tmp_path)
