from __future__ import annotations

import json
import sys
from pathlib import Path

import load
import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "results" / "example"


@pytest.mark.slow
def test_the_costs_of_all_commands_are_stored(tmp_path, monkeypatch, capsys):
    small = ["--steps", "500", "--runs", "2", "--pictures", "60"]
    words = ["load.py", "--run", str(EXAMPLE), *small, "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setenv("BENCH_CACHE_DIR", "")  # which the program sets
    load.main()
    stored = json.loads((tmp_path / "load.json").read_text())
    names = ["plot", "compare RUN RUN", *(f"export {kind}" for kind in load.FORMATS)]
    names += ["history of 2 runs, first", "history of 2 runs, again", "import of 60 pictures"]
    assert list(stored["commands"]) == names
    assert all(cost["cpu_s"] > 0 < cost["peak_mib"] for cost in stored["commands"].values())
    assert stored["import"]["pictures_per_s"] > 0 and "| plot |" in capsys.readouterr().out
