"""The variables that a module and its loss read are found, and a change of one is noted."""

from __future__ import annotations

import collections
import functools
import importlib
import itertools
import os
import sys
import threading
import types

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.training.losses import Objective, create_loss
from oneflow_bench.bench.training.watch import ForwardWatch, OptionWatch
from oneflow_bench.bench.training.watch.values import digest_state, list_read_values

pytestmark = pytest.mark.oneflow
CODE = """
import types
from oneflow import nn
import settings

factor, unread = 1.0, 0
options = types.SimpleNamespace(weight=1.0, unread=0)
schedule = {"rate": 1.0}


class Scaled(nn.Linear):
    scale = 1.0

    def forward(self, x):
        return super().forward(x) * self.scale


def make_loss():
    power = 1.0

    def loss(outputs, labels):
        return weigh((outputs - labels).sum()) * power

    def raise_power():
        nonlocal power
        power += 1

    return loss, raise_power


def weigh(value):
    return value * factor * options.weight * schedule["rate"] * settings.depth
"""
NAMES = {
    "trainer.factor", "trainer.options.weight", "trainer.schedule", "trainer.settings.depth",
    "trainer.power", "Scaled.scale",
}  # fmt: skip


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    (tmp_path / "trainer.py").write_text(CODE)
    (tmp_path / "settings.py").write_text("depth = 2\nunread = 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("trainer", "settings"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("trainer")


def list_shown(objective):
    return {name for name, _ in list_read_values(objective).values() if "__" not in name}


def test_what_is_named_is_found_through_functions_closures_objects_and_modules(trainer):
    loss, _ = trainer.make_loss()
    assert list_shown(Objective(trainer.Scaled(2, 1), loss)) == NAMES
    assert list_shown(Objective(nn.Linear(2, 1), functools.partial(loss))) == NAMES - {
        "Scaled.scale"
    }
    assert list_shown(Objective(nn.Linear(2, 1), nn.MSELoss())) == set()


def test_a_loss_of_the_command_line_is_followed(trainer):
    model = nn.Linear(2, 1)
    found = list_shown(Objective(model, create_loss(Workload(loss="trainer:weigh"), model)))
    assert found == {one for one in NAMES if one.startswith("trainer.")} - {"trainer.power"}


def test_a_change_is_noted_within_a_forward_and_between_two(trainer):
    loss, raise_power = trainer.make_loss()
    model = trainer.Scaled(2, 1)
    watch, x = ForwardWatch(model, Objective(model, loss)), flow.tensor(np.ones((1, 2), np.float32))
    for number in range(3):
        with watch.watch(x):
            trainer.factor += 1
            trainer.unread += 1
        raise_power()
        trainer.options.unread = number
        trainer.schedule["rate"] *= 0.5
    assert watch.changed_values == {
        "trainer.factor": ["1.0", "2.0", "3.0", "4.0"],
        "trainer.power": ["1.0", "2.0", "3.0"],
        "trainer.schedule": ["{'rate': 1.0}", "{'rate': 0.5}", "{'rate': 0.25}"],
    }


class Count:
    def __init__(self):
        self.number = 0


def make_generator():
    number = 0
    while True:
        number += 1
        yield number


class Counting(nn.Linear):
    """Keeps state of many kinds that its forward changes, and state that tells nothing."""

    def __init__(self):
        super().__init__(1, 1)
        self.plain, self.nested = Count(), types.SimpleNamespace(inner=Count())
        self.queue, self.counter = collections.deque(maxlen=2), itertools.count()
        self.generator, self.long = make_generator(), list(range(100))
        self.shared = [self.nested]  # the object's change shows there too
        self.cache, self.unread, self.lock = {}, np.random.default_rng(0), threading.Lock()
        self.others = [nn.Linear(1, 1), flow.ones(1), Count, os]

    def forward(self, x):
        self.plain.number += 1
        self.nested.inner.number += 1
        self.queue.append(next(self.counter))
        self.queue.append(next(self.generator))
        self.long[50] += 1
        self.cache.setdefault("positions", flow.ones(1))
        return super().forward(x)


def test_state_of_any_kind_is_noted_and_a_cache_or_what_stays_is_not():
    model, x = Counting(), flow.ones(1, 1)
    model.cycle = {"model": model, "itself": []}
    model.cycle["itself"].append(model.cycle)
    watch = ForwardWatch(model, Objective(model, nn.Identity()))
    for _ in range(3):
        with watch.watch(x):
            model(x)
    found = watch.changed_attributes
    assert set(found) == {"plain", "nested", "queue", "counter", "generator", "long", "shared"}
    assert found["plain"] == [f"{{'number': {number}}}" for number in range(4)]
    assert all(len(set(values)) == 4 for values in found.values())


def test_an_array_counts_by_its_content_and_what_is_too_large_is_left_out():
    values = np.zeros(2**18)
    before = digest_state([values])
    values[-1] = 1
    assert before is not None and digest_state([values]) != before
    assert digest_state([str(number) for number in range(2**18)]) is None


class Reversed(flow.autograd.Function):
    calls = 0

    @staticmethod
    def forward(ctx, x):
        return x * 1.0

    @staticmethod
    def backward(ctx, gradient):
        Reversed.calls += 1
        return -gradient


class Net(nn.Linear):
    def forward(self, x):
        return Reversed.apply(super().forward(x))


def test_the_backward_pass_of_an_autograd_function_is_followed():
    model, x = Net(1, 1), flow.ones(1, 1)
    watch = ForwardWatch(model, Objective(model, nn.Identity()))
    for _ in range(3):
        with watch.watch(x):
            loss = model(x).sum()
        loss.backward()
    assert watch.changed_values == {f"{__name__}.Reversed.calls": ["0", "1", "2"]}


def test_options_that_a_step_sets_by_hand_are_noted():
    optimizer = flow.optim.Adam(nn.Linear(1, 1).parameters(), lr=0.5)
    watches = [OptionWatch(optimizer, scheduled) for scheduled in (False, True)]
    group = optimizer.param_groups[0]
    for rate in (0.5, 0.25):
        optimizer.step()  # changes its own bias corrections
        group["lr"] = rate
        [watch.note() for watch in watches]
    group["weight_decay"] = 0.1
    [watch.note() for watch in watches]
    decay = {"optimizer.param_groups[0]['weight_decay']": ["0", "0.1"]}
    assert watches[0].changed == {"optimizer.param_groups[0]['lr']": ["0.5", "0.25"], **decay}
    assert watches[1].changed == decay
