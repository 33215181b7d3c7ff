from __future__ import annotations

import sys

import main_job
import pytest
from study import load_rows

# in place of `bench compare`: a line of the log, and the file that the last run left
FAKE = """
import json, pathlib, sys, time
words = sys.argv[1:]
folder = pathlib.Path(words[words.index("--out") + 1])
if "--fail" in words:
    sys.exit("error: no such model")
time.sleep(0.2)  # the seconds are rounded to tenths
print("epoch 1/3 eager loss 2.3", flush=True)
folder.mkdir()
ratio = {"ratio": 1.1, "low": 1.05, "high": None}
speed = {"judgement": {"smallest_effect": 0.05}}
verdict = "inconclusive" if "--open" in words else "faster"
(folder / "comparison.json").write_text(json.dumps({
    "speed_verdict": verdict, "speed_reason": "so it is", "speedup": ratio, "speed": speed,
    "parity": "identical", "contender": {"accuracy": [0.5, 0.9]},
}))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    monkeypatch.setattr(main_job, "COMMAND", [sys.executable, str(script)])

    def call(*words):
        monkeypatch.setattr("sys.argv", ["main_job.py", "--out", str(tmp_path / "out"), *words])
        assert main_job.main() == 0
        return load_rows(tmp_path / "out" / "rows.jsonl")

    return call


def test_each_run_is_stored_with_its_seconds_and_its_verdict(run, tmp_path, capsys):
    rows = run("--count", "1")
    assert run("--count", "2", "--", "--open")[0] == rows[0]  # the second goes on
    first, second = load_rows(tmp_path / "out" / "rows.jsonl")
    assert (first["verdict"], second["verdict"]) == ("faster", "inconclusive")
    assert 0 < first["first_number_s"] <= first["seconds"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert "1 of 2 runs ended with a verdict; aimed at are 2." in table
    assert "| 1.100 (1.050 to -) | faster | identical | 90.0 |" in table


def test_a_run_that_fails_is_a_row_too(run):
    (row,) = run("--count", "1", "--", "--fail")
    assert "status 1" in row["error"] and "no such model" in row["log_tail"]


def test_nothing_stored_is_said(run, capsys):
    assert run("--report") == []
    assert "nothing is stored in" in capsys.readouterr().out
