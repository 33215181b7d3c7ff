from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.training import losses

pytestmark = pytest.mark.oneflow

GOLDEN = json.loads(
    (Path(__file__).resolve().parents[2] / "golden" / "kd_losses.json").read_text()
)["values"]
N, K = 4, 10
STUDENT = np.array([[((7 * i + 3 * j) % 11) / 5 - 1 for j in range(K)] for i in range(N)])
TEACHER = np.array([[((5 * i + 2 * j) % 13) / 4 - 1.5 for j in range(K)] for i in range(N)])
LABELS = [0, 3, 7, 9]
# the published value -> the recipe it belongs to
RECIPES = {
    "cross_entropy": {"loss": "cross_entropy"},
    "loss_kd(alpha=.9,T=20)": {"loss": "distillation", "alpha": 0.9, "temperature": 20},
    "loss_kd(alpha=.95,T=6)": {"loss": "distillation", "alpha": 0.95, "temperature": 6},
    "loss_kd_self(alpha=.95,T=6,multiplier=50)": {
        "loss": "self_distillation",
        "alpha": 0.95,
        "temperature": 6,
        "multiplier": 50,
    },
    "loss_kd_regularization(reg_alpha=.1,reg_temperature=20,multiplier=100)": {
        "loss": "teacher_free",
        "reg_alpha": 0.1,
        "reg_temperature": 20,
        "multiplier": 100,
    },
    "loss_kd_regularization(reg_alpha=.95,reg_temperature=40,multiplier=1)": {
        "loss": "teacher_free",
        "reg_alpha": 0.95,
        "reg_temperature": 40,
        "multiplier": 1,
    },
    "loss_label_smoothing": {"loss": "label_smoothing", "label_smoothing": 0.1},
}


def compute(recipe, dtype=flow.float64, labels=LABELS):
    criterion = losses.create_loss(Workload(**recipe), nn.Identity())
    student, teacher = flow.tensor(STUDENT, dtype=dtype), flow.tensor(TEACHER, dtype=dtype)
    return float(criterion(student, flow.tensor(labels, dtype=flow.int32), teacher).numpy())


def test_every_published_value_has_a_recipe():
    assert set(RECIPES) == set(GOLDEN)


@pytest.mark.parametrize("name", RECIPES)
def test_the_published_values_are_met_in_float64(name):
    assert compute(RECIPES[name]) == pytest.approx(GOLDEN[name], abs=1e-9)


@pytest.mark.parametrize("name", RECIPES)
def test_float32_is_the_same_loss(name):
    # a small divergence times T^2: the two logarithms cancel, in float32 to three digits
    assert compute(RECIPES[name], flow.float32) == pytest.approx(GOLDEN[name], rel=1e-3)


def test_a_very_sure_teacher_gives_no_nan():
    sure = flow.tensor([[300.0, -300.0, 0.0]])
    loss = losses.distillation(flow.zeros(1, 3), flow.tensor([0]), sure, 0.5, 1.0)
    assert float(loss.numpy()) == pytest.approx(2 * np.log(3) / 3, rel=1e-5)


def test_binary_cross_entropy_takes_classes_and_several_labels():
    sigmoid = 1 / (1 + np.exp(-STUDENT))
    target = np.eye(K)[LABELS]
    expected = -(target * np.log(sigmoid) + (1 - target) * np.log(1 - sigmoid)).mean()
    assert compute({"loss": "binary_cross_entropy"}) == pytest.approx(expected, abs=1e-12)
    target[0, 5] = 1.0
    expected = -(target * np.log(sigmoid) + (1 - target) * np.log(1 - sigmoid)).mean()
    both = losses.binary_cross_entropy(flow.tensor(STUDENT), flow.tensor(target))
    assert float(both.numpy()) == pytest.approx(expected, abs=1e-12)


def test_auxiliary_heads_count_with_the_model_s_weights():
    model = nn.Identity()
    model.aux_weights = (0.3, 0.2)
    criterion = losses.create_loss(Workload(), model)
    logits, labels = flow.tensor(STUDENT), flow.tensor(LABELS)
    one = float(criterion(logits, labels).numpy())
    heads = float(criterion((logits, logits * 0.0, logits), labels).numpy())
    assert heads == pytest.approx(one + 0.3 * np.log(K) + 0.2 * one)


def test_a_loss_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "own_loss.py").write_text(
        "from oneflow.nn import functional\n"
        "def twice(logits, labels): return 2 * functional.cross_entropy(logits, labels)\n"
        "def rows(logits, labels): return logits\n"
        "def nothing(logits, labels): return 3\n"
        "class Twice:\n    def __call__(self, logits, labels): return twice(logits, labels)\n"
        "instance = Twice()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert compute({"loss": "own_loss:twice"}) == pytest.approx(2 * GOLDEN["cross_entropy"])
    assert compute({"loss": "own_loss:instance"}) == pytest.approx(2 * GOLDEN["cross_entropy"])
    with pytest.raises(InputError, match=r"is a class; make an instance .* loss = Twice\(\)"):
        compute({"loss": "own_loss:Twice"})
    with pytest.raises(InputError, match=r"returned a Tensor of shape \(4, 10\); it must return"):
        compute({"loss": "own_loss:rows"})
    with pytest.raises(InputError, match="returned an int; it must return one number"):
        compute({"loss": "own_loss:nothing"})
    with pytest.raises(InputError, match="--loss own_loss:absent: 'own_loss' has no function"):
        compute({"loss": "own_loss:absent"})
    with pytest.raises(InputError, match="cannot be imported"):
        compute({"loss": "no_such_module:loss"})


def test_a_frozen_teacher_gives_no_gradient_and_stays_as_it_is():
    flow.manual_seed(0)
    student, teacher = nn.Linear(6, K), nn.Sequential(nn.Linear(6, K), nn.BatchNorm1d(K))
    recipe = Workload(loss="distillation", alpha=0.5, temperature=2.0)
    criterion = losses.create_loss(recipe, student)
    objective = losses.Objective(student, criterion, losses.freeze(teacher))
    before = {k: v.numpy().copy() for k, v in teacher.state_dict().items()}
    optimizer = flow.optim.SGD(student.parameters(), lr=0.1)
    values = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = objective(flow.ones(2, 6), flow.tensor([1, 2]))
        loss.backward()
        optimizer.step()
        values.append(float(loss.numpy()))
    assert values[0] > values[2]
    assert all(parameter.grad is None for parameter in teacher.parameters())
    for name, value in teacher.state_dict().items():
        assert np.array_equal(value.numpy(), before[name]), name
