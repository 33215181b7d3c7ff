"""`bench sweep` as a user types it; cells are made up, but for one sweep on real OneFlow."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys

import pytest
from sweep_cells import create_result

from oneflow_bench.bench import cli
from oneflow_bench.bench.errors import Interrupted
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.tools.sweep import report as report_module
from oneflow_bench.bench.tools.sweep.continuing import hold_folder
from oneflow_bench.bench.tools.sweep.document import load_sweep, name_cell

BASE = ["--model", "lenet", "--batch-size", "1,2,4", "--data", "synthetic"]


@pytest.fixture
def cells(monkeypatch, tmp_path):
    """Cells answer from `outcomes` (name -> result or exception); `ran` lists what was run.

    Pictures are left out, which take seconds; the sweep on real OneFlow draws them.
    """

    class Cells:
        def __init__(self):
            self.outcomes, self.ran, self.timeouts = {}, [], []

        def __call__(self, planned, folder, cell_timeout_s, environments, observe):
            name = name_cell(planned.cell.values)
            self.ran.append(name)
            self.timeouts.append(cell_timeout_s)
            outcome = self.outcomes.get(name, create_result(1.1))
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

    fake = Cells()
    monkeypatch.setattr("oneflow_bench.bench.cli.sweep.measure_cell", fake)
    monkeypatch.setattr(report_module, "render_sweep_pictures", lambda *arguments: [])
    monkeypatch.chdir(tmp_path)
    return fake


def bench(*arguments):
    with pytest.raises(SystemExit) as info:
        cli.main(["sweep", *map(str, arguments)])
    return info.value.code


def test_a_sweep_leaves_its_document_report_and_table(cells, tmp_path, capsys):
    assert bench(*BASE, "--out", "s") == 0
    assert sorted(cells.ran) == [f"lenet batch_size={size}" for size in (1, 2, 4)]
    names = {path.name for path in (tmp_path / "s").iterdir()}
    assert names == {"sweep.json", "report.md", "report.html", "cells.csv"}
    document = load_sweep(tmp_path / "s")
    assert document.status == "complete"
    assert document.axes == {"model": ["lenet"], "batch_size": [1, 2, 4]}
    printed = capsys.readouterr()
    assert "Geometric mean of the speedups: 1.100" in printed.out
    assert "[3/3] lenet batch_size=" in printed.err and "about 20 s left" in printed.err


def test_other_fields_are_axes_too(cells, tmp_path):
    flags = ("--feed", "loader,memory", "--image-size", "32,64", "--epochs", "1")
    assert bench("--model", "lenet,alexnet_cifar", *flags, "--out", "s") == 0
    document = load_sweep(tmp_path / "s")
    assert len(cells.ran) == 8
    assert document.axes["feed"] == ["loader", "memory"]
    assert {cell.workload.epochs for cell in document.cells} == {1}
    with open(tmp_path / "s" / "cells.csv") as stream:
        assert {row["image_size"] for row in csv.DictReader(stream)} == {"32", "64"}


def test_steps_of_a_user_have_no_batch_size(cells, tmp_path, capsys):
    lists = ("--optimizer", "sgd,adamw", "--lr", "0.001")
    assert bench("my:gpt,my:vae", *lists, "--out", "s") == 0
    assert sorted(cells.ran) == [
        f"my:{name} optimizer={kind}" for name in ("gpt", "vae") for kind in ("adamw", "sgd")
    ]
    document = load_sweep(tmp_path / "s")
    assert document.axes == {"model": ["my:gpt", "my:vae"], "optimizer": ["sgd", "adamw"]}
    assert {cell.workload.data for cell in document.cells} == {"training-step"}
    assert "no fit" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "outcome, status",
    [
        (create_result(status="timeout"), 4),
        (create_result(parity="different", parity_reason="far off"), 1),
        (create_result(parity="inconclusive", parity_reason="not finite"), 3),
    ],
)
def test_the_exit_status_says_the_worst_and_the_others_are_run(cells, capsys, outcome, status):
    cells.outcomes["lenet batch_size=2"] = outcome
    assert bench(*BASE, "--out", "s") == status
    assert len(cells.ran) == 3
    reason = outcome.parity_reason or outcome.reason
    assert reason in capsys.readouterr().out


def test_the_same_folder_goes_on_and_a_changed_configuration_is_run_again(cells, capsys):
    assert bench(*BASE, "--out", "s") == 0
    assert bench(*BASE, "--out", "s") == 0
    assert len(cells.ran) == 3
    assert "3 of 3 cells are done and not run again" in capsys.readouterr().err
    assert bench("--model", "lenet", "--batch-size", "1,2,4,8", *BASE[4:], "--out", "s") == 0
    assert cells.ran[3:] == ["lenet batch_size=8"]
    assert bench(*BASE[:2], "--batch-size", "1,2,4,8", *BASE[4:], "--lr", "0.5", "--out", "s") == 0
    assert len(cells.ran) == 8
    assert "4 run again, since their configuration, code" in capsys.readouterr().err


def test_failures_are_run_again_when_asked_and_timeouts_with_a_longer_limit(cells):
    cells.outcomes["lenet batch_size=1"] = create_result(status="failed")
    cells.outcomes["lenet batch_size=2"] = create_result(status="timeout", cell_timeout_s=50)
    assert bench(*BASE, "--out", "s", "--cell-timeout", "50") == 4
    assert set(cells.timeouts) == {50}
    cells.outcomes.clear()
    assert bench(*BASE, "--out", "s", "--cell-timeout", "99") == 4
    assert cells.ran[3:] == ["lenet batch_size=2"]
    assert bench(*BASE, "--out", "s", "--retry-failed") == 0
    assert cells.ran[4:] == ["lenet batch_size=1"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Interrupted("ended by the user")])
def test_ctrl_c_keeps_and_reports_what_is_done(cells, tmp_path, capsys, error):
    assert bench(*BASE, "--out", "s") == 0
    last = cells.ran[-1]
    cells.ran.clear()
    cells.outcomes[last] = error
    assert bench(*BASE, "--out", "t") == 130
    assert "2 of 3 cells are done" in capsys.readouterr().err
    assert "1 not run yet" in (tmp_path / "t" / "report.md").read_text()
    assert bench("--from", "t") == 3
    cells.outcomes.clear()
    assert bench(*BASE, "--out", "t") == 0
    assert cells.ran[3:] == [last]


def test_a_stored_sweep_is_reported_again_from_what_is_stored(cells, tmp_path, capsys):
    cells.outcomes["lenet batch_size=2"] = create_result(status="out of memory")
    assert bench(*BASE, "--out", "s") == 4
    first = capsys.readouterr().out
    assert bench("--from", "s") == 4
    assert capsys.readouterr().out == first
    assert bench("--from", "s/sweep.json") == 4
    assert capsys.readouterr().out == first
    assert bench("--from", "s", "--out", "elsewhere/new", "--json") == 4
    printed = json.loads(capsys.readouterr().out)
    assert printed["summary"]["failed"] == {"out of memory": 1}
    assert len(printed["growth"]) == 4 and len(printed["sweep"]["cells"]) == 3
    assert (tmp_path / "elsewhere" / "new" / "report.md").exists()
    assert len(cells.ran) == 3


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--model", "resnot*"], "no model's name fits 'resnot*'"),
        (["--model", ""], "empty value"),
        (["--batch-size", "1,,2"], "empty place"),
        (["--batch-size", "1,two"], "'two' is not a whole number"),
        (["--batch-size", "1,2.5"], "'2.5' is not a whole number"),
        (["--batch-size", "0,1"], "0 is not in the range"),
        (["--feed", "loader,disk"], "'disk' is not one of"),
        (["--batch-size", "90000,80000"], "all 2 cells"),
        (["--out", "full"], "holds no sweep"),
        (["--out", "file"], "holds no sweep"),
        (["--from", "full"], "no sweep at"),
        (["my:gpt", "--batch-size", "2"], "--batch-size 2 cannot be used with a TrainingStep"),
        (["my:gpt", "--model", "lenet"], "--model was given beside the TrainingStep my:gpt"),
        (["my:gpt", "--from", "full"], "my:gpt is for a new sweep"),
        (["--from", "full", "--lr", "1"], "--lr is for a new sweep"),
        (["--resume", "full"], "--resume"),
        (["--cell-timeout", "0"], "--cell-timeout"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(cells, tmp_path, capsys, arguments, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    assert bench(*arguments) == 2
    assert words in capsys.readouterr().err
    assert cells.ran == []
    assert {path.name for path in tmp_path.rglob("*")} == {"full", "x", "file"}


def test_a_report_that_cannot_be_written_names_the_sweep_to_make_it_from(
    cells, capsys, monkeypatch
):
    assert bench(*BASE, "--out", "s") == 0
    capsys.readouterr()

    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(report_module, "render_sweep_pictures", fail)
    assert bench("--from", "s", "--out", "full") == 0
    assert "bench sweep --from s makes it" in capsys.readouterr().err


def test_a_folder_of_another_sweep_is_refused(cells, capsys):
    assert bench(*BASE, "--out", "s") == 0
    assert bench("--model", "alexnet_cifar", "--out", "s") == 2
    assert "holds another sweep" in capsys.readouterr().err


def test_a_second_sweep_in_a_folder_is_refused_and_harms_nothing(cells, tmp_path, capsys):
    assert bench(*BASE, "--out", "s") == 0
    stored = (tmp_path / "s" / "sweep.json").read_bytes()
    with hold_folder(tmp_path / "s"):
        assert bench(*BASE, "--lr", "0.5", "--out", "s") == 2
    assert f"runs there already (process {os.getpid()})" in capsys.readouterr().err
    assert len(cells.ran) == 3 and (tmp_path / "s" / "sweep.json").read_bytes() == stored


CRASHING = "import os\ndef boom(num_classes):\n    os.abort()\n"


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_real_sweep_survives_a_crash_and_is_reported_where_oneflow_is_not(tmp_path):
    (tmp_path / "crashing.py").write_text(CRASHING)
    command = [sys.executable, "-m", "oneflow_bench", "sweep"]
    flags = ["--model", "lenet,crashing:boom", "--batch-size", "16,32", "--data", "synthetic",
             "--image-size", "32", "--epochs", "1", "--steps-per-epoch", "12", "--block-steps", "2",
             "--out", "s"]  # fmt: skip
    run = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 240}
    done = subprocess.run([*command, *flags], **run)
    assert done.returncode == 4, done.stderr
    assert {path.name for path in (tmp_path / "s").iterdir()} == {
        "sweep.json", "cells", "report.md", "report.html", "cells.csv", "speedups.png",
        "speedups.svg",
        "step_time.png", "step_time.svg", "peak_memory.png", "peak_memory.svg",
    }  # fmt: skip
    document = load_sweep(tmp_path / "s")
    results = {name_cell(cell.values): cell.result for cell in document.cells}
    for size in (16, 32):
        lenet = results[f"lenet batch_size={size}"]
        assert lenet.status == "done" and lenet.parity in ("identical", "equal within rounding")
        assert lenet.speedup.low < lenet.speedup.ratio < lenet.speedup.high
        assert lenet.modes["graph"].compile_s > 0
        assert lenet.modes["eager"].peak_rss_bytes > 50 * 2**20
        record = load_record(tmp_path / "s" / lenet.record)
        assert record.document.workload.batch_size == size
        crashed = results[f"crashing:boom batch_size={size}"]
        assert crashed.status == "failed" and "SIGABRT" in crashed.reason
    (tmp_path / "oneflow.py").write_text("raise ImportError('there is no OneFlow here')\n")
    run["env"] = {**os.environ, "PYTHONPATH": str(tmp_path)}
    again = subprocess.run([*command, "--from", "s"], **run)
    assert again.returncode == 4 and again.stdout == done.stdout
    assert "Left out of the mean: 2 cells" in again.stdout
