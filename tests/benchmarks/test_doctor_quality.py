from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path

import doctor_quality
import pytest
from doctor_quality import FAULTS, describe_rows, examine, run_doctor
from study import load_rows

from oneflow_bench.bench.errors import WorkerError


@pytest.fixture
def found(monkeypatch):
    """Lets the doctor find the given checks, whatever was planted."""

    def let(*names):
        checks = [{"name": name, "status": "attention"} for name in names]
        checks.append({"name": "swap", "status": "ok"})
        oneflow = {
            "identity": {"executable": "/here/python", "python": "3.10.13"},
            "imported": None,
            "variables": {"LD_LIBRARY_PATH": "/here", "OMP_NUM_THREADS": "2"},
        }
        diagnosis = {
            "checks": checks,
            "duration_s": 12.0,
            "python": "/here/python",
            "oneflow": oneflow,
        }
        monkeypatch.setattr(doctor_quality, "run_doctor", lambda *planting: (diagnosis, 1))

    return let


@pytest.mark.parametrize(
    "names, verdict",
    [
        (["onednn"], "right"),
        (["onednn", "steal"], "invented"),
        ([], "missed"),
        (["steal"], "missed"),
    ],
)
def test_what_was_found_is_held_against_what_was_planted(found, names, verdict):
    found(*names)
    assert examine("onednn-on", 20.0)["verdict"] == verdict


def test_no_path_of_the_machine_is_stored(found):
    found("onednn")
    row = examine("onednn-on", 20.0)
    assert "/here" not in str(row)
    assert row["diagnosis"]["oneflow"]["variables"] == {"OMP_NUM_THREADS": "2"}


def test_a_finding_on_the_machine_as_it_is_counts_as_invented(found):
    found("steal")
    assert examine("none", 20.0)["invented"] == ["steal"]


def test_a_table_counts_the_found_and_the_invented(found):
    found("onednn", "steal")
    rows = [examine(name, 20.0) for name in ("none", "onednn-on", "one-core")]
    table = describe_rows([*rows, {"case": "x", "error": "died"}])
    assert "| onednn-on | 1 | 1 | steal | 12.0 |" in table
    assert "| one-core | 1 | 0 | onednn, steal | 12.0 |" in table
    assert "1 of 2 planted faults found" in table
    assert "3 of 3 diagnoses name a fault that was not planted; 1 failed" in table


def test_neighbours_run_only_while_the_fault_is_planted(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    before = _children()
    with ExitStack() as stack:
        FAULTS["busy-neighbours"].plant(stack)
        assert _children() - before
    assert not _children() - before


def _children():
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_library_is_hidden_by_links(monkeypatch):
    with ExitStack() as stack:
        planting = FAULTS["missing-library"].plant(stack)
        folder = Path(planting.variables["PYTHONPATH"])
        assert (folder / "oneflow" / "__init__.py").exists()
        assert (folder / "oneflow.libs").exists() and not (folder / "nvidia").exists()
    assert not folder.exists()


def test_a_doctor_that_fails_is_an_error(monkeypatch):
    with pytest.raises(WorkerError, match="ended with status 2"):
        run_doctor(doctor_quality.Planting(flags=["--python", "/no/such"]), 20.0)


def test_a_study_goes_on_where_it_stopped(found, monkeypatch, tmp_path, capsys):
    found("onednn")
    arguments = ["doctor_quality.py", "run", "--out", str(tmp_path), "--faults", "onednn*"]
    for repeats in ("1", "2"):
        monkeypatch.setattr(sys, "argv", [*arguments, "--repeats", repeats])
        assert doctor_quality.main() == 0
    assert [row["case"] for row in load_rows(tmp_path / "doctor.jsonl")] == [
        "onednn-on/0",
        "onednn-on/1",
    ]
    assert "2 of 2 planted faults found; 0 of 2" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*arguments[:-1], "no such fault"])
    with pytest.raises(SystemExit) as ended:
        doctor_quality.main()
    assert ended.value.code == 2
