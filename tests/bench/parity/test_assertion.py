"""`assert_parity` in somebody's own tests."""

from __future__ import annotations

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

import oneflow_bench
from oneflow_bench.bench.parity.assertion import ParityError, assert_parity

pytestmark = pytest.mark.oneflow

LABELS = flow.tensor([0, 1, 2, 3], dtype=flow.int32)


def create_batch():
    return flow.tensor(np.random.RandomState(0).randn(4, 3, 8, 8).astype(np.float32)), LABELS


class CountsItsCalls(nn.Module):
    """Python state in forward: frozen at its first value in a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(192, 8)
        self.second = nn.Linear(8, 4)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        hidden = flow.relu(self.first(x.flatten(1)))
        return self.second(hidden * (1.0 if self.calls == 1 else 1.01))


def test_a_faithful_model_passes_and_is_left_alone():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(144, 4),
    )  # fmt: skip
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    levels = oneflow_bench.assert_parity(model, nn.CrossEntropyLoss(), create_batch())
    assert {level.verdict for level in levels} <= {"identical", "equal within rounding"}
    assert len(levels) == 10
    assert all(np.array_equal(before[n], v.numpy()) for n, v in model.state_dict().items())


def test_a_model_with_python_state_is_caught_and_the_layer_named():
    with pytest.raises(ParityError, match="level 'forward' second differs") as caught:
        assert_parity(CountsItsCalls(), nn.CrossEntropyLoss(), create_batch())
    assert caught.value.levels[3].first_different.name == "second"


def test_any_loss_and_optimizer():
    def loss(outputs, labels):
        return (outputs - labels.to(outputs.dtype).unsqueeze(1)).pow(2).mean()

    def create_optimizer(model):
        return flow.optim.Adam(model.parameters(), lr=0.001)

    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    assert_parity(model, loss, create_batch(), steps=3, create_optimizer=create_optimizer)


def test_clipping_whose_norm_is_rounded_differently_passes():
    def create_optimizer(model):
        group = {
            "params": model.parameters(),
            "clip_grad_max_norm": 0.1,
            "clip_grad_norm_type": 2.0,
        }
        return flow.optim.SGD([group], lr=0.1, momentum=0.9)

    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 1024), nn.ReLU(), nn.Linear(1024, 4))
    assert_parity(model, nn.CrossEntropyLoss(), create_batch(), create_optimizer=create_optimizer)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        assert_parity(nn.Flatten(), nn.CrossEntropyLoss(), create_batch(), steps=0)
