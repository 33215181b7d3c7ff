"""The worker's own parts, without PyTorch; with it: `test_torch_side.py`."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import types

import numpy as np
import pytest

from oneflow_bench.bench.tools.profile.run import WORKER_FILE
from oneflow_bench.bench.tools.profile.steps import MODELS_FOLDER
from oneflow_bench.bench.tools.profile.torch_worker import (
    TorchSession,
    Unusable,
    load_batches,
    load_state,
    serve,
)


def answers(session, *requests):
    replies = io.StringIO()
    serve(session, iter([json.dumps(r) for r in requests]), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


class Session:
    def good(self, request):
        return {"value": request["value"]}

    def unusable(self, request):
        raise Unusable("there is none; give another")

    def broken(self, request):
        raise ZeroDivisionError("first\nlast")

    def end(self, request):
        return {}


def test_the_protocol_is_the_suite_s(capsys):
    good = {"call": "good", "value": 3}
    assert answers(Session(), good, good) == [{"ok": True, "value": 3}] * 2
    assert answers(Session(), {"call": "end"}, good) == [{"ok": True}]
    assert answers(Session(), {"call": "unusable"}, good) == [
        {"ok": False, "kind": "input", "error": "there is none; give another"}
    ]
    failed = answers(Session(), {"call": "broken"}, good)
    assert failed == [{"ok": False, "kind": "failure", "error": "ZeroDivisionError: last"}]
    assert "Traceback" in capsys.readouterr().err


FAKE = types.SimpleNamespace(from_numpy=lambda array: array)


def test_batches_come_in_order_with_labels_that_pytorch_takes(tmp_path):
    arrays = {}
    for number in range(11):
        arrays[f"images_{number}"] = np.full((1, 3, 2, 2), number, np.float32)
        arrays[f"labels_{number}"] = np.array([number], np.int32)
    np.savez(tmp_path / "i.npz", **arrays)
    batches = load_batches(FAKE, str(tmp_path / "i.npz"))
    assert [int(labels[0]) for _, labels in batches] == list(range(11))
    assert [float(images[0, 0, 0, 0]) for images, _ in batches] == list(range(11))
    assert batches[0][1].dtype == np.int64


def test_weights_that_do_not_fit_are_one_sentence(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.zeros(2, np.float32))
    given = {}
    load_state(FAKE, types.SimpleNamespace(load_state_dict=given.update), str(tmp_path / "w.npz"))
    assert list(given) == ["a"]

    def refuse(state):
        raise RuntimeError("Missing key:\n  b")

    with pytest.raises(Unusable, match="other tensors than OneFlow's .Missing key: b"):
        load_state(FAKE, types.SimpleNamespace(load_state_dict=refuse), str(tmp_path / "w.npz"))


def test_a_compiler_that_is_not_there_is_an_answer(capsys):
    def refuse(function):
        raise RuntimeError("no C++ compiler\nat all")

    session = TorchSession()
    session._torch = types.SimpleNamespace(compile=refuse)
    answer = session.compile({})
    assert answer == {"error": "torch.compile failed with RuntimeError: no C++ compiler"}


STAND_IN = """
import sys, types
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import torch_worker

for name in ("torch", "torch.nn", "torch.nn.functional", "torch.nn.init"):
    sys.modules[name] = types.ModuleType(name)
torch = sys.modules["torch"]
torch.nn = sys.modules["torch.nn"]
torch.nn.Module = object  # and no layer at all
models = torch_worker.stand_in_for_oneflow(torch, Path(sys.argv[2]))
import oneflow
from oneflow import nn

assert oneflow is torch and nn is torch.nn
assert models.get_model_spec("lenet").name == "lenet"
try:
    torch_worker._build(models, {"model": "lenet", "num_classes": 10, "model_args": {}})
except torch_worker.Unusable as error:
    print(error)
"""


def test_models_are_built_of_what_stands_in_for_oneflow():
    done = subprocess.run(
        [sys.executable, "-c", STAND_IN, str(WORKER_FILE.parent), str(MODELS_FOLDER)],
        capture_output=True,
        text=True,
    )
    assert done.stdout == (
        "lenet cannot be built with PyTorch in place of OneFlow (AttributeError: module 'torch.nn' "
        "has no attribute 'Sequential')\n"
    ), done.stderr
