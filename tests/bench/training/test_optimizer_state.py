"""The optimizer's state, found by the identity of its parameters, in both modes."""

from __future__ import annotations

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.training.eager import EagerMode
from oneflow_bench.bench.training.feeds import Feed
from oneflow_bench.bench.training.graph import GraphMode
from oneflow_bench.bench.training.job import Job
from oneflow_bench.bench.training.losses import Objective
from oneflow_bench.bench.training.oneflow_compat import OPTIMIZER_SLOTS

pytestmark = pytest.mark.oneflow
optim = flow.optim
SHAPES = {
    "0.weight": (192, 192), "0.bias": (192,), "1.weight": (4, 192), "1.bias": (4,),
}  # fmt: skip
KINDS = {
    "SGD": ({"momentum": 0.9}, ["momentum"]),
    "Adam": ({"amsgrad": True}, ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"]),
    "Adagrad": ({}, ["sum"]),
    "RMSprop": ({"centered": True}, ["grad_avg", "square_avg"]),
    "Adadelta": ({}, ["acc_deltas", "square_avgs"]),
    "LAMB": ({}, ["exp_avg", "exp_avg_sq"]),
}


def reverse(model, **options):
    named = [*model.named_parameters()][::-1]
    groups = [[p for n, p in named if n.endswith(kind)] for kind in ("bias", "weight")]
    return [{"params": groups[0], "weight_decay": 0.0}, {"params": groups[1]}]


class Shifted(nn.Linear):
    """Its forward makes a constant, which a graph keeps beside the optimizer's tensors."""

    def forward(self, x):
        return nn.Linear.forward(self, x) + flow.tensor(np.ones(4, np.float32))


def create_job(make, seed=0):
    flow.manual_seed(seed)
    model = nn.Sequential(nn.Linear(192, 192), Shifted(192, 4))
    source = np.random.RandomState(1)
    images = flow.tensor(source.randn(4, 192).astype(np.float32))
    batch = images, flow.tensor([0, 1, 2, 3], dtype=flow.int32)
    feeds = [Feed(lambda: batch, 4, [4]) for _ in range(2)]
    criterion = nn.CrossEntropyLoss()
    objective = Objective(model, criterion)
    return Job(model, objective, make(model), None, *feeds)


def create_mode(mode, job):
    return EagerMode(job) if mode == "eager" else GraphMode(job, False)


def train(mode, job, steps=2):
    running = create_mode(mode, job)
    for _ in range(steps):
        running.train_step()
    return running.capture_optimizer()


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimizer_s_tensors_are_found_by_the_parameter(kind):
    options, slots = KINDS[kind]
    eager, graph = (
        train(mode, create_job(lambda m: getattr(optim, kind)(reverse(m), lr=0.01, **options)))
        for mode in ("eager", "graph")
    )
    wanted = {f"{name}/{slot}": shape for name, shape in SHAPES.items() for slot in slots}
    assert {name: value.shape for name, value in eager.items()} == wanted
    assert list(dict.fromkeys(n.rpartition("/")[0] for n in eager)) == list(SHAPES)
    assert eager.keys() == graph.keys()
    for name, value in eager.items():
        np.testing.assert_allclose(value, graph[name], rtol=1e-3, atol=1e-7, err_msg=name)


def train_head(model):
    model[0].weight.requires_grad = False
    return optim.SGD([{"params": [model[1].bias, model[1].weight]}], lr=0.01, momentum=0.9)


def thaw_last(model):
    """A frozen parameter between trained ones, in the optimizer."""
    model[0].bias.requires_grad = False
    return optim.SGD(reverse(model), lr=0.01, momentum=0.9)


@pytest.mark.parametrize("make", [train_head, thaw_last])
def test_the_head_alone_and_frozen_parameters(make):
    eager, graph = (train(mode, create_job(make)) for mode in ("eager", "graph"))
    assert eager.keys() == graph.keys()
    assert all(np.array_equal(value, graph[name]) for name, value in eager.items())
    assert all(SHAPES[name.rpartition("/")[0]] == v.shape for name, v in eager.items())


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_state_of_several_groups_is_restored_to_its_parameters(mode):
    def make(model):
        return optim.Adam(reverse(model), lr=0.01, weight_decay=0.1)

    whole = create_job(make)
    train(mode, whole, 4)
    half = create_job(make)
    state = train(mode, half)
    rest = create_job(make, seed=5)
    rest.model.load_state_dict(half.model.state_dict())
    running = create_mode(mode, rest)
    running.restore_optimizer(state, 2)
    for _ in range(2):
        running.train_step()
    for name, value in whole.model.state_dict().items():
        assert np.array_equal(value.numpy(), rest.model.state_dict()[name].numpy()), name


class Wrapper:
    """A wrapper that averages weights, as lookahead does."""

    def __init__(self, optimizer):
        self.optimizer, self.param_groups = optimizer, optimizer.param_groups


def test_what_cannot_be_followed_is_refused_in_a_sentence(monkeypatch):
    def sgd(model):
        return optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    for make in (lambda m: Wrapper(sgd(m)), lambda m: [sgd(m[0]), sgd(m[1])]):
        with pytest.raises(InputError, match="(Wrapper|list) was given as the optimizer"):
            create_job(make)
    weight = nn.Parameter(flow.ones(7))
    with pytest.raises(InputError, match=r"parameter of shape \(7,\) that is in no module"):
        create_job(lambda m: optim.SGD([*m.parameters(), weight], lr=0.1))
    monkeypatch.delitem(OPTIMIZER_SLOTS, "momentum")
    for mode in ("eager", "graph"):
        with pytest.raises(InputError, match="momentum.*use an optimizer of OneFlow"):
            train(mode, create_job(sgd))
