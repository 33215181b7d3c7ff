"""The variables that a module and its loss read are found, and a change of one is noted."""

from __future__ import annotations

import functools
import importlib
import sys

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.training.losses import Objective, create_loss
from oneflow_bench.bench.training.watch import ForwardWatch
from oneflow_bench.bench.training.watch.values import list_read_values

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
    return {name for _, name in list_read_values(objective) if "__" not in name}


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
