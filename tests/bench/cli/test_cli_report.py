"""`bench report`, `bench runs`, and the names of runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_checks import create_check, create_check_document
from records import create_events, create_record, save_record
from sweep_cells import create_mixed_sweep

from oneflow_bench.bench import cli
from oneflow_bench.bench.cli.run import told_parity
from oneflow_bench.bench.cli.value_types import RunFolder
from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.parity.result import save_check
from oneflow_bench.bench.report import pictures
from oneflow_bench.bench.tools.sweep.document import save_sweep


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Three runs in the folder results: the newest is neither the first nor the last by name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "render_pictures", lambda records, folder: [])
    for name, day in (("compare-a", 1), ("compare-b", 3), ("eager-c", 2)):
        record = create_record(create_events("eager"), create_events("graph"))
        record.document.created = f"2026-01-0{day}T00:00:00+00:00"
        save_record(record, Path("results") / name)
    return Path("results")


def test_a_run_is_named_by_its_path_its_beginning_or_latest(results):
    convert = RunFolder().convert
    assert convert("latest", None, None) == "results/compare-b"
    assert convert("eager", None, None) == "results/eager-c"
    assert convert("compare-a", None, None) == "results/compare-a"
    assert convert("results/compare-a", None, None) == "results/compare-a"
    assert convert("results/compare-a/record.json", None, None) == "results/compare-a"
    assert convert("other", None, None) == "other"
    (results / "eager-c" / "record.json").write_text("{")
    assert convert("latest", None, None) == "results/compare-b"


@pytest.mark.parametrize("command", ["plot", "report", "export --format csv", "compare latest"])
def test_an_ambiguous_beginning_is_refused_by_every_command(results, capsys, command):
    assert cli._run([*command.split(), "compare"]) == 2
    said = capsys.readouterr().err
    assert "compare-a, compare-b; give more letters" in said


def test_each_kind_of_folder_is_named_alike(results, capsys):
    for name, day in (("check-a", 1), ("check-b", 2)):
        (results / name).mkdir()
        stored = json.dumps({"created": f"2026-01-0{day}T00:00:00+00:00"})
        (results / name / "check.json").write_text(stored)
    assert RunFolder("check").convert("latest", None, None) == "results/check-b"
    assert RunFolder("check").convert("check-a", None, None) == "results/check-a"
    assert cli._run(["check", "--from", "check"]) == 2
    assert "check-a, check-b; give more letters" in capsys.readouterr().err
    assert cli._run(["sweep", "--from", "latest"]) == 2
    assert "results holds no sweep yet; `bench sweep` makes one" in capsys.readouterr().err
    for flag in ("--resume", "--load-checkpoint"):
        assert cli._run(["eager", flag, "compare"]) == 2
        assert "compare-a, compare-b; give more letters" in capsys.readouterr().err


def test_a_comparison_is_printed_in_three_sizes(results, capsys):
    printed = {}
    for flag in ("--quiet", "", "-v"):
        assert cli._run(["compare", "latest", "latest", *flag.split()]) in (0, 3)
        printed[flag] = capsys.readouterr().out
    verdicts, summary, whole = printed.values()
    assert verdicts.startswith("Parity: ") and "peak memory" not in verdicts
    assert "peak memory, MiB" in summary and "first step, ms" not in summary
    assert "first step, ms" in whole and "How to read this report" in whole
    assert len(verdicts) < len(summary) < len(whole)


def test_a_parity_that_is_known_is_printed_where_the_speed_phase_dies(results, capsys):
    folder = results / "compare-a"
    check = create_check().model_copy(update={"baseline": "eager", "contender": "graph"})
    save_check(create_check_document(check), folder)
    for as_json, lines in ((False, 1), (True, 0)):
        with pytest.raises(WorkerError), told_parity(folder, as_json):
            raise WorkerError("died in its measure turn")
        assert capsys.readouterr().out.count("Parity: identical.") == lines
    with pytest.raises(WorkerError), told_parity(results / "compare-b", False):
        raise WorkerError("died before there was a verdict")
    assert capsys.readouterr().out == ""


def test_latest_without_a_run_says_how_to_make_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli._run(["report", "latest"]) == 2
    assert "results holds no run yet; `bench compare` makes one" in capsys.readouterr().err


def test_one_run_gets_its_page_and_several_a_dashboard(results, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    assert cli._run(["report", "latest", "--open"]) == 0
    page = results / "compare-b" / "report.html"
    assert "The same model?" in page.read_text() and opened == [page.resolve().as_uri()]
    assert cli._run(["report", "compare-a", "latest", "--json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == str(page) and json.loads(printed[1]).endswith("results/report.html")
    assert 'href="compare-b/report.html"' in (results / "report.html").read_text()


def test_a_sweep_gets_a_page_with_a_row_for_each_cell(results, capsys):
    folder = results / "sweep-z"
    folder.mkdir()
    save_sweep(folder, create_mixed_sweep())
    assert cli._run(["report", "sweep"]) == 0
    assert capsys.readouterr().out == "results/sweep-z/report.html\n"
    page = (folder / "report.html").read_text()
    assert "Sweep sweep-z" in page and page.count('<th scope="row">') == 8
    assert cli._run(["report", "sweep-z", "compare-a", "--out", "zoo.html"]) == 0
    assert Path("zoo.html").read_text().count('<th scope="row">') == 9
    (folder / "sweep.json").write_text("{")
    assert cli._run(["report", "sweep-z"]) == 2
    assert "unreadable" in (folder / "report.html").read_text()


def test_a_sweep_is_printed_in_three_sizes(results, tmp_path, capsys):
    save_sweep(tmp_path / "results", create_mixed_sweep())
    printed = []
    for flag in ("--quiet", "", "-v"):
        assert cli._run(["sweep", "--from", "results", *flag.split()]) == 1
        printed.append(capsys.readouterr().out)
    verdicts, summary, whole = printed
    assert "Geometric mean" in verdicts and "Speed (" not in verdicts
    assert "Speed (" in summary and "Failures" in summary and "Peak memory =" not in summary
    assert "Peak memory =" in whole


def test_a_damaged_run_is_a_row_and_an_exit_status(results, capsys):
    (results / "compare-a" / "record.json").write_text("{")
    assert cli._run(["report", "compare-a", "latest", "--out", "zoo.html"]) == 2
    assert "unreadable" in Path("zoo.html").read_text()


def test_a_page_that_cannot_be_written_leaves_no_half(results, capsys):
    assert cli._run(["report", "latest", "--out", "nowhere/page.html"]) == 2
    assert "nowhere/page.html" in capsys.readouterr().err and not Path("nowhere").exists()


def test_runs_are_listed_with_their_verdicts(results, capsys):
    verdict = {"contender": {"name": "graph"}, "parity": "identical", "speed_verdict": "faster"}
    stored = json.dumps({**verdict, "speedup": {"ratio": 1.25}})
    (results / "compare-a" / "comparison.json").write_text(stored)
    (results / "compare-b" / "comparison.json").write_text("[1]")  # of another program
    (results / "eager-c" / "record.json").write_text("{")
    assert cli._run(["runs", "--json"]) == 0
    listed = {one["run"]: one for one in json.loads(capsys.readouterr().out)}
    assert list(listed) == ["eager-c", "compare-a", "compare-b"]
    assert listed["compare-a"]["verdicts"] == ["graph: identical, faster (1.250)"]
    assert listed["compare-b"]["verdicts"] == [] and listed["compare-b"]["model"]
    assert listed["eager-c"]["status"] == "unreadable" and "JSON" in listed["eager-c"]["error"]
    assert cli._run(["runs", "--results", "results"]) == 0
    assert "compare-a" in capsys.readouterr().out
    assert cli._run(["runs", "--results", "none"]) == 2
    assert "none is no folder" in capsys.readouterr().err
