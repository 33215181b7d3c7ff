"""A report that is longer than the screen ends with its verdicts once more."""

from __future__ import annotations

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
    assert console.print_detail(None, list, lambda: blocks, list) == fits
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
