from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from oneflow_bench.config import Workload
from oneflow_bench.errors import InputError
from oneflow_bench.limits import torch_side
from oneflow_bench.limits.torch_side import (
    MODELS_FOLDER,
    WORKER_FILE,
    check_torch_python,
    create_setup_request,
    create_torch_launcher,
)


@pytest.fixture
def program(tmp_path):
    """Writes an executable and returns its path."""

    def write(text, mode=0o755):
        path = tmp_path / "python"
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    return write


def with_modules(tmp_path, *names):
    """An interpreter that finds a made-up torch and numpy, or not."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name in names:
        (folder / f"{name}.py").write_text("__version__ = '2.0'\n")
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} -S "$@"\n')
    path.chmod(0o755)
    return str(path)


def refused(path, *words):
    with pytest.raises(InputError) as caught:
        check_torch_python(path)
    for word in (path, *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_interpreter_with_both_is_taken(tmp_path):
    assert check_torch_python(with_modules(tmp_path, "torch", "numpy")) == "2.0"


@pytest.mark.parametrize("there, missing", [([], "torch"), (["torch"], "numpy")])
def test_what_is_missing_is_named(tmp_path, there, missing):
    refused(with_modules(tmp_path, *there), f"has no {missing}", "install it there")


def test_what_is_no_interpreter_is_refused(tmp_path, program):
    refused(str(tmp_path / "nowhere"), "does not exist")
    refused(str(tmp_path), "cannot be executed")
    refused(program("print()", mode=stat.S_IRUSR | stat.S_IWUSR), "cannot be executed")
    refused(program("\x7fELF nonsense"), "cannot be started")
    refused(program("#!/bin/sh\nexit 0\n"), "does not run Python", "exit status 0")
    refused(program("#!/bin/sh\necho no such flag >&2\nexit 9\n"), "exit status 9: no such flag")


def test_an_interpreter_that_hangs_is_given_up(program, monkeypatch):
    monkeypatch.setattr(torch_side, "CHECK_TIMEOUT_S", 0.2)
    refused(program("#!/bin/sh\nexec sleep 30\n"), "within 0.2 s")


def test_the_setup_has_the_recipe_of_the_workload():
    start = {"weights": "w", "inputs": "i", "aux_weights": [0.3]}
    request = create_setup_request(Workload(model="lenet", lr=0.5, momentum=0.1), start, True)
    assert request["lr"] == 0.5 and request["momentum"] == 0.1
    assert request["weight_decay"] == Workload().weight_decay
    assert request["disable_dropout"] and request["aux_weights"] == [0.3]
    assert (Path(request["models_folder"]) / "lenet.py").is_file()
    assert MODELS_FOLDER.is_dir() and WORKER_FILE.is_file()


@pytest.mark.skipif(
    "BENCH_TORCH_PYTHON" not in os.environ,
    reason="BENCH_TORCH_PYTHON names no interpreter that has PyTorch",
)
def test_pytorch_trains_a_model_of_the_suite(tmp_path):
    import numpy as np
    import oneflow as flow

    from oneflow_bench.models import create_model
    from oneflow_bench.workload import copy_state

    python = os.environ["BENCH_TORCH_PYTHON"]
    check_torch_python(python)
    flow.manual_seed(0)
    np.savez(tmp_path / "w.npz", **copy_state(create_model("lenet", num_classes=10)))
    source = np.random.RandomState(0)
    np.savez(
        tmp_path / "i.npz",
        images_0=source.standard_normal((4, 3, 32, 32)).astype(np.float32),
        labels_0=np.arange(4, dtype=np.int32),
    )
    start = {
        "weights": str(tmp_path / "w.npz"),
        "inputs": str(tmp_path / "i.npz"),
        "aux_weights": [],
    }
    worker = create_torch_launcher(python, tmp_path)("torch eager")
    try:
        request = create_setup_request(Workload(model="lenet"), start, False)
        assert worker.ask("setup", 120.0, **request)["threads"] >= 1
        losses = worker.ask("train", 60.0, steps=20)["losses"]
        assert losses[-1] < losses[0]
        assert worker.ask("measure", 60.0, steps=2, lead_steps=1)["duration_s"] > 0
        worker.ask("end", 60.0)
    finally:
        worker.close()
