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


def test_the_status_of_a_training_stands_above_the_bar_and_an_epoch_stays(terminal, capsys):
    with ProgressBar("steps") as bar:
        bar.tell("eager: loss 2.3", "status")
        bar("epoch 1/5", 1, 9)
        assert "eager: loss 2.3" in capsys.readouterr().err
        bar.tell("eager: epoch 1/5 validated", "epoch")
        bar.tell("eager: loss 1.1", "step")
    assert "epoch 1/5 validated" in capsys.readouterr().err


def test_without_a_terminal_a_long_part_is_not_silent(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with ProgressBar("steps") as bar:
        bar("speed phase", 1, 60)
        now[0] += progress.MOST_SILENT_S + 1
        bar.seconds("speed phase", 31, 60)
        bar.seconds("speed phase", 32, 60)
        bar.tell("eager: loss 2.3", "status")
        bar.tell("eager: loss 2.2", "step")
    assert capsys.readouterr().err == "speed phase: 31 of 60 s\neager: loss 2.2\n"


def test_where_there_is_no_terminal_only_lines_are_shown(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with ProgressBar("steps") as bar:
        bar("warm up", 1, 9)
        bar.print_line("cell 1 is done")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "cell 1 is done\n")


def test_a_quiet_command_shows_no_progress(capsys, terminal):
    with ProgressBar("steps", quiet=True) as bar:
        bar("measure", 1, 9)
        bar.tell("epoch 1: loss 2.3", "epoch")
        bar.print_line("a note")
    assert capsys.readouterr().err == ""
