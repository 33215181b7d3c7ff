"""Copies that keep what a module is, and leave it alone."""

from __future__ import annotations

import random
import sys
import threading
import types

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.bench.parity.own.snapshot import Snapshot, keep_generators, take_snapshot

pytestmark = pytest.mark.oneflow


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.rest = nn.Sequential(self.head, nn.Dropout(0.5))
        self.scale = flow.ones(2)
        self.device = flow.device("cpu")
        self.register_buffer("positions", flow.arange(3), persistent=False)

    def forward(self, ids):
        return self.rest(self.embedding(ids))


def double(module, inputs, output):
    return output * 2


def halve(module, inputs):
    return inputs[0] * 0.5


@pytest.fixture
def model():
    model = Tied()
    model.head.register_forward_hook(double)
    model.head.register_forward_pre_hook(halve)
    model.embedding.weight.requires_grad = False
    model.rest[1].generator.manual_seed(5)
    model.rest[1](flow.ones(4))  # draws
    return model.eval()


def test_all_that_a_module_is_survives_and_shared_parts_stay_shared(model):
    labels = flow.tensor([1, 2])

    def loss(outputs, labels):
        return outputs.sum() + model.scale.sum()

    copied, copied_loss, batch = take_snapshot(model, loss, (labels,)).load()
    assert copied is not model and copied.head.weight is not model.head.weight
    assert copied.head.weight is copied.embedding.weight
    assert copied.rest[0] is copied.head and copied_loss.__closure__[0].cell_contents is copied
    assert list(copied.head._forward_hooks.values()) == [double]
    assert list(copied.head._forward_pre_hooks.values()) == [halve]
    assert isinstance(copied.head.weight, nn.Parameter) and not copied.head.weight.requires_grad
    assert copied.positions.dtype == flow.int64 and "positions" not in copied.state_dict()
    assert copied.rest[1].generator.initial_seed() == 5 and not copied.training
    assert copied.device == model.device
    assert np.array_equal(copied(labels).numpy(), model(labels).numpy())
    first = copied.rest[1].train()(flow.ones(64))
    assert np.array_equal(
        first.numpy(), take_snapshot(model).load()[0].rest[1].train()(flow.ones(64)).numpy()
    )


def test_a_wide_copy_casts_every_floating_tensor_and_no_integer(model):
    copied, ids = take_snapshot(model, flow.tensor([1, 2])).load(flow.float64)
    assert {copied.scale.dtype, copied.head.weight.dtype} == {flow.float64}
    assert ids.dtype == flow.int64 and copied(ids).dtype == flow.float64


def test_an_object_that_cannot_be_pickled_is_kept_and_said(model):
    model.lock = threading.Lock()
    snapshot = take_snapshot(model)
    assert "cannot pickle '_thread.lock'" in snapshot.reason
    (copied,) = snapshot.load()
    assert copied.lock is model.lock and copied.head.weight is not model.head.weight
    with pytest.raises(Exception, match="another process"):
        Snapshot(snapshot.data).load()


def test_a_class_of_a_module_on_no_path_is_stored_itself(monkeypatch):
    module = types.ModuleType("module_on_no_path")
    module.__file__ = "nowhere.py"
    source = "from oneflow import nn\nclass Own(nn.Linear):\n    answer = 42\n"
    exec(source, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    snapshot = take_snapshot(nn.Sequential(module.Own(2, 2)))
    monkeypatch.delitem(sys.modules, module.__name__)
    assert snapshot.load()[0][0].answer == 42


def test_global_generators_are_as_before():
    before = random.getstate(), np.random.get_state()[1].tolist()
    flow.manual_seed(3)
    with keep_generators():
        first = flow.rand(4).numpy().copy()
        random.random(), np.random.rand()
        flow.manual_seed(9)
    assert np.array_equal(first, flow.rand(4).numpy())
    assert before == (random.getstate(), np.random.get_state()[1].tolist())
