"""The commands as functions of Python."""

from __future__ import annotations

import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
from made_checks import create_check, create_check_document
from records import create_events, create_record, save_record

import oneflow_bench as ob
from oneflow_bench.bench.cli.api import _name_step
from oneflow_bench.bench.cli.results import CheckResult, TrainResult
from oneflow_bench.bench.errors import InputError, RecordError

ROOT = Path(__file__).parents[3]

SCRIPT = """
import numpy as np
from oneflow import nn

import oneflow_bench as ob


def create_batches(seed):
    source = np.random.default_rng(seed)
    while True:
        x = source.normal(size=(8, 4)).astype(np.float32)
        yield x, x.sum(1, keepdims=True)


def compute_loss(model, batch):
    error = model(batch[0]) - batch[1]
    return (error * error).mean()


def create_module():
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))


if __name__ == "__main__":
    step = ob.TrainingStep(
        create_module=create_module, create_batches=create_batches, loss=compute_loss
    )
    checked = ob.check(step)
    assert checked.parity in ("identical", "equal within rounding"), checked
    assert checked.losses["eager"] == checked.losses["graph"] and len(checked.losses["graph"]) == 6
    result = ob.compare(step, epochs=1, steps_per_epoch=6, budget_s=8, schedule="constant")
    assert result.parity in ("identical", "equal within rounding"), result
    assert result.verdict in ("faster", "slower", "equivalent", "inconclusive")
    assert result.speedup.ratio > 0 and result.comparisons[0].speed.blocks > 0
    assert {name: len(losses) for name, losses in result.losses.items()} == {
        "eager": 6, "graph": 6,
    }
    assert (result.save("again/report") / "report.md").is_file()
    trained = ob.train(step, mode="eager", epochs=1, steps_per_epoch=6, schedule="constant")
    assert trained.losses["eager"] == result.losses["eager"] and trained.summary.steps == 6
    profiled = ob.profile(step, iterations=2, warmup=0)
    assert [layer.name for layer in profiled.layers] == ["0", "1", "2"]
    assert "Linear" in str(profiled)
    inferred = ob.infer(ob.TrainingStep(
        create_module=create_module, create_batches=create_batches,
        predict=lambda model, batch: model(batch[0]),
    ), (2, 16), iterations=2)
    assert inferred.agrees and [one.batch_size for one in inferred.document.batches] == [2, 16]
    print(result.folder)
"""


def test_a_stored_run_has_typed_attributes():
    result = ob.load_run(ROOT / "results" / "example")
    assert result.verdict in str(result) and result.parity in str(result)
    assert result.speedup.low < result.speedup.ratio < result.speedup.high
    eager, graph = result.losses.values()
    assert len(eager) == len(graph) == result.comparisons[0].baseline.steps
    assert result._repr_markdown_().startswith("# ")
    assert repr(result) == f"<RunResult: Parity: {result.parity}>"


def test_a_stored_run_of_one_mode_has_its_losses_metrics_and_report(tmp_path):
    save_record(create_record(create_events("eager")), tmp_path / "run")
    result = ob.load_run(tmp_path / "run")
    assert isinstance(result, TrainResult) and set(result.losses) == {"eager"}
    assert len(result.losses["eager"]) == result.summary.steps
    assert result.summary.accuracy[-1] > 0 and not hasattr(result, "verdict")
    assert "best accuracy" in (result.save(tmp_path / "report") / "report.md").read_text()


def test_a_check_is_saved_as_markdown(tmp_path):
    result = CheckResult(create_check_document(create_check("own:step")), tmp_path)
    assert repr(result) == "<CheckResult: Parity: identical>"
    assert "own:step" in (result.save(tmp_path / "a" / "b") / "report.md").read_text()


def test_a_notebook_shows_the_page_and_the_pictures():
    from matplotlib import pyplot as plt

    result = ob.load_run(ROOT / "results" / "example")
    page = result._repr_html_()
    assert page.startswith("<iframe srcdoc=") and page.endswith("</iframe>")
    assert "<script" not in page and "&lt;script" in page  # escaped, as an attribute must be
    figure = result.plot()
    assert len(figure.axes) > 4
    plt.close(figure)


def test_the_curves_are_a_frame_where_pandas_is(monkeypatch):
    result = ob.load_run(ROOT / "results" / "example")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pandas is not installed"):
        result.to_frame()
    made = types.SimpleNamespace(DataFrame=lambda rows: rows)
    monkeypatch.setitem(sys.modules, "pandas", made)
    losses = [row for row in result.to_frame() if row["series"] == "loss"]
    assert [row["value"] for row in losses] == [x for one in result.losses.values() for x in one]
    assert losses[0]["at"] == 1 and losses[0]["contender"] == "eager"


def test_help_tells_of_each_name(capsys):
    help(ob)
    told = capsys.readouterr().out
    assert "step = ob.TrainingStep(" in told
    for name in set(ob.__all__) - {"__version__"}:
        assert name in told


def test_other_modes_and_inputs_are_refused():
    with pytest.raises(InputError, match="mode='both' was given"):
        ob.train("my_file:gpt", mode="both")
    with pytest.raises(InputError, match="'lenet' was given and a TrainingStep"):
        ob.infer("lenet")
    with pytest.raises(InputError, match="batch_sizes=4 was given and a tuple"):
        ob.infer("my_file:gpt", 4)
    with pytest.raises(InputError, match=r"batch_sizes=\(1, 0\) was given and whole numbers"):
        ob.infer("my_file:gpt", (1, 0))
    with pytest.raises(InputError, match="limits='' was given|--limits was given"):
        ob.profile("my_file:gpt", limits="")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RecordError):
        ob.load_run(tmp_path)


@pytest.mark.parametrize(
    "name, hint", [("budget", "did you mean budget_s"), ("data", "is no setting")]
)
def test_an_unknown_setting_is_refused_with_the_one_that_is_meant(name, hint):
    with pytest.raises(InputError, match=f"{name}=3 was given and .*{hint}"):
        ob.compare("my_file:gpt", **{name: 3})


def test_another_object_is_refused():
    with pytest.raises(InputError, match="an int was given and a TrainingStep"):
        ob.check(3)


def test_a_step_that_cannot_be_sent_is_told_with_its_line():
    lock = threading.Lock()
    step = ob.TrainingStep(dict, list, lambda model, batch: lock)
    with pytest.raises(InputError, match=rf"{step.place} cannot be sent .*lock"), _name_step(step):
        pass


def test_settings_are_checked_as_flags_are():
    with pytest.raises(InputError, match="--batch-size 4 cannot be used with a TrainingStep"):
        ob.compare("my_file:gpt", batch_size=4)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.oneflow
def test_a_step_of_a_script_is_checked_and_compared(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=880)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / done.stdout.strip().splitlines()[-1]
    assert (folder / "report.md").is_file()
