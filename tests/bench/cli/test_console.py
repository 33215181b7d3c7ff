"""Results and progress on a terminal, and without one."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest

from oneflow_bench.bench.cli import console
from oneflow_bench.bench.report.blocks import Table, Text

VERDICTS = ["Parity: identical.", "Speed: faster."]


@pytest.mark.parametrize(
    "height, is_terminal, fits", [(24, True, False), (40, True, True), (24, False, True)]
)
def test_a_report_of_thirty_lines(monkeypatch, capsys, height, is_terminal, fits):
    screen = partial(console.Console, force_terminal=is_terminal, width=80, height=height)
    monkeypatch.setattr(console, "Console", screen)
    blocks = [Text(VERDICTS), Table(["name"], [[str(number)] for number in range(25)])]
    assert console.print_detail(None, [], blocks, []) == fits
    console.print_place("report", Path("results/run"), [] if fits else VERDICTS)
    last = capsys.readouterr().out.splitlines()[-4:]
    assert any(line.endswith("Speed: faster.\x1b[0m") for line in last) == (not fits)


@pytest.mark.parametrize(
    "width, lines",
    [(28, ["", "report:", "results/compare-lenet"]), (80, ["", "report: results/compare-lenet"])],
)
def test_a_path_has_its_own_line_where_both_do_not_fit(monkeypatch, capsys, width, lines):
    screen = partial(console.Console, force_terminal=True, width=width)
    monkeypatch.setattr(console, "Console", screen)
    console.print_place("report", Path("results/compare-lenet"))
    assert capsys.readouterr().out.splitlines() == lines


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_bar_is_drawn_when_it_is_told_something_and_by_no_thread(terminal, capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    threads = threading.active_count()
    with console.ProgressBar("steps") as bar:
        assert threading.active_count() == threads
        capsys.readouterr()
        bar("warm up", 1, 9)
        assert "warm up" in capsys.readouterr().err
        bar("warm up", 2, 9)  # at once: nobody could read it
        assert capsys.readouterr().err == ""
        now[0] += console.DRAWN_EVERY_S
        bar("warm up", 3, 9)
        assert "3/9" in capsys.readouterr().err
        bar.seconds("measure", 4, 20)
        assert "measure" in capsys.readouterr().err


def test_the_status_of_a_training_stands_above_the_bar_and_an_epoch_stays(terminal, capsys):
    with console.ProgressBar("steps") as bar:
        bar.tell("eager: loss 2.3", "status")
        bar("epoch 1/5", 1, 9)
        assert "eager: loss 2.3" in capsys.readouterr().err
        bar.tell("eager: epoch 1/5 validated", "epoch")
        bar.tell("eager: loss 1.1", "step")
    assert "epoch 1/5 validated" in capsys.readouterr().err


def test_without_a_terminal_a_long_part_is_not_silent(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.ProgressBar("steps") as bar:
        bar("speed phase", 1, 60)
        now[0] += console.MOST_SILENT_S + 1
        bar.seconds("speed phase", 31, 60)
        bar.seconds("speed phase", 32, 60)
        bar.tell("eager: loss 2.3", "status")
        bar.tell("eager: loss 2.2", "step")
    assert capsys.readouterr().err == "speed phase: 31 of 60 s\neager: loss 2.2\n"


def test_where_there_is_no_terminal_only_lines_are_shown(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with console.ProgressBar("steps") as bar:
        bar("warm up", 1, 9)
        bar.print_line("cell 1 is done")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "cell 1 is done\n")


def test_a_quiet_command_shows_no_progress(capsys, terminal):
    with console.ProgressBar("steps", quiet=True) as bar:
        bar("measure", 1, 9)
        bar.tell("epoch 1: loss 2.3", "epoch")
        bar.print_line("a note")
    assert capsys.readouterr().err == ""
