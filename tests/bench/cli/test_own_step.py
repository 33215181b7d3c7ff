"""`bench COMMAND MODULE:STEP`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import run_command

from oneflow_bench.bench.cli.options import take_step
from oneflow_bench.bench.config import STEP_DATA
from oneflow_bench.bench.errors import InputError


def test_a_step_takes_the_place_of_model_and_data():
    flags = {"step": "my_file:gpt", "model": None, "lr": 0.1}
    take_step(flags)
    assert flags == {"model": "my_file:gpt", "data": STEP_DATA, "lr": 0.1}
    flags = {"step": None, "model": "lenet"}
    take_step(flags)
    assert flags == {"model": "lenet"}


@pytest.mark.parametrize("name", ["model", "models", "data"])
def test_a_step_beside_a_model_is_refused(name):
    with pytest.raises(InputError, match=f"--{name} was given beside the TrainingStep my:gpt"):
        take_step({"step": "my:gpt", name: "x"})


@pytest.mark.parametrize("limits", [["--limits"], ["--limits", "results/RUN"]])
def test_the_limits_of_a_step_are_refused(limits):
    done = run_command("profile", "my_file:gpt", *limits)
    assert done.returncode == 2
    assert "--limits was given with the TrainingStep my_file:gpt" in done.stderr


def run(*words):
    command = [sys.executable, "-m", "oneflow_bench", *words]
    folder = Path(__file__).parents[1]  # of own_steps.py
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize(
    "name, cause",
    [
        ("counting", r"output\[norm\].*calls \(1 -> 2"),
        ("rising", r"reads own_steps.curriculum \({'factor': 1.0} -> {'factor': 1.5}"),
    ],
)
def test_a_fault_of_the_loss_is_found_and_named(name, cause, tmp_path):
    done = run("check", f"own_steps:{name}", "--json", "--out", str(tmp_path / "run"))
    assert done.returncode == 1, done.stderr
    (found,) = json.loads(done.stdout)["check"]["checks"]
    assert found["verdict"] == "different"
    assert re.search(cause, found["reason"])


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_batch_that_does_not_fit_ends_a_run_in_a_sentence(tmp_path):
    steps = ("--epochs", "1", "--steps-per-epoch", "6")
    done = run("graph", "own_steps:partial", *steps, "--out", str(tmp_path / "run"))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "batch[next] int64 (2, 5) was given" in done.stderr


@pytest.mark.slow
@pytest.mark.oneflow
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_the_layers_of_a_step_are_timed(mode, tmp_path):
    out = str(tmp_path / "run")
    few = ("--mode", mode, "--iterations", "2", "--warmup", "0", "--json", "--out", out)
    done = run("profile", "own_steps:tagger", *few)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["batch"].startswith("batch[inputs][0] int64 (4, 5), ")
    assert [layer["name"] for layer in document["layers"]] == ["words", "mix", "head"]
    assert all(len(layer["forward_s"]) == 2 for layer in document["layers"])
    assert (document["graph"] is not None) == (mode == "graph")
