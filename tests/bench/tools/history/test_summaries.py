"""The memory of runs: what it saves, and that it never hides a change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from histories import create_run
from records import save_record

from oneflow_bench.bench.errors import RecordError
from oneflow_bench.bench.record.run import RunRecord
from oneflow_bench.bench.tools.history import summaries
from oneflow_bench.bench.tools.history.summaries import Summaries


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "history.json"


@pytest.fixture
def reads(monkeypatch):
    """The folders that were read in full."""
    found = []

    def load(folder: Path) -> RunRecord:
        found.append(folder.name)
        return load_run(folder)

    load_run = summaries.load_run
    monkeypatch.setattr(summaries, "load_run", load)
    return found


def read_all(folder):
    known = Summaries()
    read = known.read(sorted(folder.glob("run-*")), lambda done, total: None)
    known.save()
    return read


@pytest.fixture
def runs(tmp_path):
    for day in range(2):
        save_record(create_run(day), tmp_path / "runs" / f"run-{day}")
    return tmp_path / "runs"


def test_a_run_is_read_once_and_its_summary_stays_the_same(runs, reads):
    first = read_all(runs)
    assert reads == ["run-0", "run-1"] and first[0].measured
    assert read_all(runs) == first
    assert reads == ["run-0", "run-1"]


@pytest.mark.parametrize("name", ["record.json", "samples.jsonl", "check.json"])
def test_a_changed_digit_is_noticed_in_each_file_of_a_remembered_run(runs, name):
    read_all(runs)
    path = runs / "run-1" / name
    if path.exists():
        text, stamp = path.read_text(), path.stat().st_mtime_ns
        path.write_text(text.replace("4", "5", 1))
        os.utime(path, ns=(stamp, stamp))
    else:
        path.write_text("{}")
    _, error = read_all(runs)
    assert isinstance(error, RecordError) and name in str(error)


def test_another_version_of_the_suite_reads_again(runs, reads, tmp_path, monkeypatch):
    read_all(runs)
    (tmp_path / "suite").mkdir()
    monkeypatch.setattr(summaries, "_SUITE", tmp_path / "suite")
    for rule in ("MARGIN = 0.02", "MARGIN = 0.03"):
        (tmp_path / "suite" / "judge.py").write_text(rule)
        reads.clear()
        read_all(runs)
        assert reads == ["run-0", "run-1"]


def test_a_damaged_memory_is_not_believed(runs, reads, cache):
    first = read_all(runs)
    cache.write_text(cache.read_text().replace('"value": 0.1', '"value": 0.2', 1))
    assert read_all(runs) == first
    assert reads == ["run-0", "run-1"] * 2


@pytest.mark.parametrize("given", ["", "/dev/null/x"])
def test_runs_are_read_each_time_where_there_is_no_cache_folder(runs, reads, monkeypatch, given):
    monkeypatch.setenv("BENCH_CACHE_DIR", given)
    assert read_all(runs) == read_all(runs)
    assert reads == ["run-0", "run-1"] * 2


def test_a_run_that_is_not_finished_is_not_remembered(tmp_path, reads, cache):
    record = create_run(0)
    record.document.status = "running"
    save_record(record, tmp_path / "runs" / "run-0")
    assert [one.status for one in read_all(tmp_path / "runs") * 2] == ["running"] * 2
    assert not cache.exists()


def test_many_runs_are_read_by_several_processes_alike(runs, monkeypatch, tmp_path):
    """Also where one run cannot be read, and where a process is killed."""
    for day in range(2, 8):
        save_record(create_run(day), runs / f"run-{day}")
    (runs / "run-3" / "record.json").write_text("{")
    expected = read_all(runs)
    monkeypatch.setenv("BENCH_CACHE_DIR", "")
    monkeypatch.setattr(summaries, "_CHUNK", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    told, mine, load_run = [], os.getpid(), summaries.load_run

    def load(folder):
        if os.getpid() != mine and folder.name == "run-6":
            os._exit(1)
        return load_run(folder)

    for reader in (load_run, load):
        monkeypatch.setattr(summaries, "load_run", reader)
        read = Summaries().read(sorted(runs.glob("run-*")), lambda *done: told.append(done))
        assert [str(one) for one in read] == [str(one) for one in expected]
        assert told[-1] == (8, 8)
