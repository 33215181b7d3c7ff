"""`bench history` as a user types it."""

from __future__ import annotations

import json

import pytest
from command import run_command
from histories import create_runs
from records import save_record

from oneflow_bench.bench.tools.history import METRICS


def bench_history(*arguments, cwd):
    return run_command("history", *arguments, cwd=cwd)


@pytest.fixture(autouse=True)
def no_memory(monkeypatch):
    monkeypatch.setenv("BENCH_CACHE_DIR", "")


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    for record in create_runs([0.08] * 3):
        save_record(record, folder / record.document.run_id)
    return folder


def test_the_default_folder_is_results_and_pictures_stand_beside_the_runs(results):
    done = bench_history(cwd=results.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert "series 1 of 1: 3 runs" in done.stdout
    assert "pictures: results/history" in done.stdout
    assert len(list((results / "history").glob("*.png"))) == len(METRICS)
    again = bench_history(results / "run-00", "--metric", "accuracy", cwd=results)
    assert "One run: there is no other to compare it with yet" in again.stdout
    assert sorted(path.name for path in (results / "run-00").iterdir()) == [
        "record.json",
        "samples.jsonl",
    ]


def test_json_holds_the_metrics_asked_for(results):
    done = bench_history("--metric", "speedup", "--json", "--out", "pictures", cwd=results.parent)
    (series,) = json.loads(done.stdout)["series"]
    assert [curve["metric"] for curve in series["curves"]] == ["speedup"]
    assert len(series["curves"][0]["points"]) == 3
    assert (results.parent / "pictures" / "history-speedup.svg").exists()


def test_a_damaged_record_is_skipped_with_a_warning_and_in_the_exit_status(results):
    (results / "run-01" / "record.json").write_text("{")
    done = bench_history("--metric", "accuracy", cwd=results.parent)
    assert done.returncode == 2
    assert "series 1 of 1: 2 runs" in done.stdout
    assert done.stderr.startswith("warning: skipped: results/run-01/record.json is not JSON")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "results is no folder; make a run with bench compare"),
        (["."], ". holds no run"),
        (["--metric", "speed"], "'speed' is not one of"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(tmp_path, arguments, words):
    done = bench_history(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_history_is_shown_where_its_pictures_cannot_be_written(results):
    (results.parent / "file").write_text("")
    done = bench_history("--out", "file", cwd=results.parent)
    assert done.returncode == 0 and "series 1 of 1: 3 runs" in done.stdout
    assert "the pictures could not be made: --out file cannot be created" in done.stderr


def test_help_shows_an_example_and_the_metrics(tmp_path):
    done = bench_history("--help", cwd=tmp_path)
    assert "\n  bench history\n" in done.stdout
    assert all(metric in done.stdout for metric in METRICS)


def test_the_gate_ends_with_1_where_the_newest_level_is_worse(tmp_path):
    for record in create_runs([0.08] * 4 + [0.12] * 4):
        save_record(record, tmp_path / record.document.run_id)
    words = [tmp_path, "--metric", "compile_s", "--metric", "train_step_time_s", "--gate"]
    done = bench_history(*words, cwd=tmp_path)
    assert done.returncode == 1
    assert "gate: series 1: train step of graph is worse from run-04 on" in done.stderr
    done = bench_history(*words, "--branch", "main", cwd=tmp_path)
    assert done.returncode == 2 and "run-00: branch none" in done.stderr
