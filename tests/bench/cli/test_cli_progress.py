from __future__ import annotations

import threading

import pytest

from oneflow_bench.bench.cli import progress
from oneflow_bench.bench.cli.progress import ProgressBar


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_bar_is_drawn_when_it_is_told_something_and_by_no_thread(terminal, capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    threads = threading.active_count()
    with ProgressBar("steps") as bar:
        assert threading.active_count() == threads
        capsys.readouterr()
        bar("warm up", 1, 9)
        assert "warm up" in capsys.readouterr().err
        bar("warm up", 2, 9)  # at once: nobody could read it
        assert capsys.readouterr().err == ""
        now[0] += progress.DRAWN_EVERY_S
        bar("warm up", 3, 9)
        assert "3/9" in capsys.readouterr().err
        bar.seconds("measure", 4, 20)
        assert "measure" in capsys.readouterr().err


def test_where_there_is_no_terminal_only_lines_are_shown(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with ProgressBar("steps") as bar:
        bar("warm up", 1, 9)
        bar.print_line("cell 1 is done")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "cell 1 is done\n")
