"""`--optimizer module:function`: what it gives is trained alike in both modes, or refused."""

from __future__ import annotations

import numpy as np
import oneflow as flow
import pytest

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.training.eager import EagerMode
from oneflow_bench.bench.training.graph import GraphMode
from oneflow_bench.bench.training.job import create_job
from oneflow_bench.bench.training.optimizers import create_optimizer

pytestmark = pytest.mark.oneflow
CODE = """
import oneflow as flow
from oneflow.optim import SGD
from oneflow.optim.lr_scheduler import StepLR


def grouped(parameters, lr):
    weights, biases = ([p for p in parameters if (p.ndim > 1) is large] for large in (True, False))
    groups = [{"params": biases, "weight_decay": 0.0}, {"params": weights[::-1]}]
    return SGD(groups, lr=lr, momentum=0.9, weight_decay=0.1)


def scheduled(parameters, lr):
    made = SGD(parameters, lr=lr)
    StepLR(made, 2)
    return made


class Halved(SGD):
    def step(self, closure=None):
        return super().step(closure)


alone = lambda parameters: SGD(parameters, lr=0.1)
pair = lambda parameters, lr: (SGD(parameters, lr=lr), None)
failing = lambda parameters, lr: 1 / 0
strange = lambda parameters, lr: SGD([flow.nn.Parameter(flow.ones(7))], lr=lr)
"""
BASE = {
    "model": "lenet", "data": "synthetic", "feed": "memory", "batch_size": 4, "val_batch_size": 4,
    "schedule": "step", "lr_step": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_optimizers(tmp_path, monkeypatch):
    (tmp_path / "own_optimizers.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))


def train(optimizer, mode, **recipe):
    job = create_job(Workload(**BASE, optimizer=optimizer, **recipe), None, 2, "cpu")
    running = EagerMode(job) if mode == "eager" else GraphMode(job, False)
    losses = [float(running.train_step()[0].numpy()) for _ in range(4)]
    return losses, running.capture_optimizer()


def test_both_modes_train_it_with_the_schedule_and_match_its_state_by_parameter():
    (losses, state), (compiled, graph_state) = (
        train("own_optimizers:grouped", mode) for mode in ("eager", "graph")
    )
    np.testing.assert_allclose(losses, compiled, rtol=1e-6)
    assert state.keys() == graph_state.keys() and len(state) == 10
    for name, value in state.items():
        np.testing.assert_allclose(value, graph_state[name], rtol=1e-3, atol=1e-7, err_msg=name)


def test_a_class_of_oneflow_is_one():
    plain = {"momentum": 0.0, "weight_decay": 0.0}
    assert train("oneflow.optim:SGD", "eager")[0] == train("sgd", "eager", **plain)[0]


@pytest.mark.parametrize(
    "name, message",
    [
        ("scheduled", "made a scheduler, which nothing would step; .* give --schedule"),
        ("Halved", "a Halved was given as the optimizer and nn.Graph compiles only"),
        ("pair", "a tuple was given as the optimizer and nn.Graph compiles only"),
        ("alone", "cannot be called with the parameters and the rate .*; give a function of both"),
        ("failing", r"raised ZeroDivisionError at .*own_optimizers.py:\d+"),
        ("strange", r"parameter of shape \(7,\) that is in no module"),
        ("absent", "'own_optimizers' has no function or class 'absent'"),
    ],
)
def test_an_error_names_the_flag_and_the_remedy(name, message):
    with pytest.raises(InputError, match=f"^--optimizer own_optimizers:{name}.*{message}"):
        create_optimizer(Workload(optimizer=f"own_optimizers:{name}"), flow.nn.Linear(2, 2))
