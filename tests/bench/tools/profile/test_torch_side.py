from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from step_workers import Workers

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.tools.profile import run
from oneflow_bench.bench.tools.profile.run import (
    WORKER_FILE,
    check_torch_python,
    create_torch_launcher,
)
from oneflow_bench.bench.tools.profile.steps import MODELS_FOLDER, Fleet, TorchStart
from oneflow_bench.models import list_models


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
    path.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec "{sys.executable}" -S "$@"\n')
    path.chmod(0o755)
    return str(path)


def refused(path, *words):
    with pytest.raises(InputError) as caught:
        check_torch_python(path)
    for word in (path, *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_interpreter_with_both_is_taken(tmp_path):
    check_torch_python(with_modules(tmp_path, "torch", "numpy"))


@pytest.mark.parametrize("there, missing", [([], "torch"), (["torch"], "numpy")])
def test_what_is_missing_is_named(tmp_path, there, missing):
    words = f"No module named '{missing}'", "install them there"
    refused(with_modules(tmp_path, *there), "cannot import PyTorch and NumPy", *words)


def test_what_is_no_interpreter_is_refused(tmp_path, program):
    refused(str(tmp_path / "nowhere"), "cannot be started (No such file")
    refused(str(tmp_path), "cannot be started (Permission denied)")
    refused(program("print()", mode=stat.S_IRUSR | stat.S_IWUSR), "cannot be started (Permission")
    refused(program("\x7fELF nonsense"), "cannot be started")
    refused(program("#!/bin/sh\nexit 0\n"), "cannot import PyTorch", "exit status 0")
    refused(program("#!/bin/sh\necho no such flag >&2\nexit 9\n"), "exit status 9: no such flag")


def test_an_interpreter_that_hangs_is_given_up(program, monkeypatch):
    monkeypatch.setattr(run, "CHECK_TIMEOUT_S", 0.2)
    refused(program("#!/bin/sh\nexec sleep 30\n"), "within 0.2 s")


def test_the_setup_has_the_recipe_of_the_workload():
    workers = Workers()
    fleet = workers.fleet(workload=Workload(model="lenet", lr=0.5, momentum=0.1))
    fleet.start_torch("eager", "losses", TorchStart("w", "i", [0.3]), dropout=False)
    ((_, _, request),) = workers.log
    assert (request["weights"], request["inputs"]) == ("w", "i")
    workload = request["workload"]
    assert request["lr"] == 0.5 and workload["momentum"] == 0.1
    assert workload["weight_decay"] == Workload().weight_decay
    assert request["disable_dropout"] and request["aux_weights"] == [0.3]
    assert (Path(request["models_folder"]) / "lenet.py").is_file()
    assert MODELS_FOLDER.is_dir() and WORKER_FILE.is_file()


needs_torch = pytest.mark.skipif(
    "BENCH_TORCH_PYTHON" not in os.environ,
    reason="BENCH_TORCH_PYTHON names no interpreter that has PyTorch",
)

BUILD_ALL = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import torch
import torch_worker

models = torch_worker.stand_in_for_oneflow(torch, Path(sys.argv[2]))
for name in models.list_models():
    spec = models.get_model_spec(name)
    with torch.device("meta"):
        model = models.create_model(name, num_classes=spec.num_classes).train()
        size = spec.default_image_size
        outputs = model(torch.zeros(2, 3, size, size))
    first = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
    assert tuple(first.shape) == (2, spec.num_classes), name
    assert sum(p.numel() for p in model.parameters()) == spec.num_params, name
    print(name)
"""


@needs_torch
def test_pytorch_builds_every_model_of_the_suite():
    command = ["-c", BUILD_ALL, str(WORKER_FILE.parent), str(MODELS_FOLDER)]
    done = subprocess.run(
        [os.environ["BENCH_TORCH_PYTHON"], *command], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list_models()


@needs_torch
@pytest.mark.oneflow
def test_pytorch_trains_as_oneflow_does(tmp_path):
    """The worker's start, batches, loss and optimizer, held to a plain loop in OneFlow."""
    import numpy as np
    import oneflow as flow

    from oneflow_bench.bench.training.job import copy_state
    from oneflow_bench.bench.training.optimizers import create_optimizer
    from oneflow_bench.models import create_model

    workload, steps = Workload(model="lenet", nesterov=True), 5
    flow.manual_seed(0)
    model = create_model("lenet", num_classes=10)
    source = np.random.RandomState(0)
    batches = [
        (source.standard_normal((4, 3, 32, 32)).astype(np.float32), np.arange(4, dtype=np.int32))
        for _ in range(2)
    ]
    start = {name: str(tmp_path / f"{name}.npz") for name in ("weights", "inputs")}
    np.savez(start["weights"], **copy_state(model))
    named = {f"images_{n}": images for n, (images, _) in enumerate(batches)}
    named.update({f"labels_{n}": labels for n, (_, labels) in enumerate(batches)})
    np.savez(start["inputs"], **named)
    optimizer, expected = create_optimizer(workload, model), []
    for number in range(steps):
        images, labels = map(flow.tensor, batches[number % len(batches)])
        loss = flow.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(float(loss.numpy()))
    launch = create_torch_launcher(os.environ["BENCH_TORCH_PYTHON"], tmp_path)
    fleet = Fleet(workload, [], lambda _: None, launch, 120.0, lambda *_: None)
    worker = fleet.start_torch("eager", "timing", TorchStart(**start, aux_weights=[]), dropout=True)
    try:
        assert worker.step.environment["threads"] >= 1
        assert worker.ask("train", steps=steps)["losses"] == pytest.approx(expected, rel=1e-5)
        assert worker.ask("measure", steps=2, untimed_steps=1)["duration_s"] > 0
        worker.ask("end")
    finally:
        worker.close()
