"""What is noted of a module beside its outputs."""

from __future__ import annotations

import random

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.training.hooks import hook_modules, list_attribute_tensors
from oneflow_bench.bench.training.losses import Objective
from oneflow_bench.bench.training.watch import ForwardWatch
from oneflow_bench.bench.training.watch.values import list_plain_attributes

pytestmark = pytest.mark.oneflow


def test_a_forward_that_was_set_on_a_module_is_refused():
    model = nn.Sequential(nn.ReLU())
    model[0].forward = lambda x: x
    words = "the forward of a ReLU is a function that was set on the module.*define forward"
    with pytest.raises(InputError, match=words), hook_modules(Objective(model, model), "model"):
        pass


class Keeping(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.calls, self.history, self.cache = 0, [], flow.zeros(1)
        self.generator = np.random.default_rng(0)
        self.register_buffer("stored", flow.zeros(1))
        self.register_buffer("kept", flow.zeros(1), persistent=False)

    def forward(self, x):
        self.calls += 1
        self.history.append(self.calls)
        self.generator.random()
        random.random()
        return self.inner(x)


def test_tensors_outside_of_the_state_dict_are_attributes():
    model = nn.Sequential(Keeping())
    assert set(list_attribute_tensors(model)) == {"0.cache", "0.kept"}
    assert {"0.calls", "0.history", "0.training"} <= set(list_plain_attributes(model))


def test_a_watch_notes_attributes_generators_hooks_and_the_input():
    model = Keeping()
    model.inner.register_forward_hook(lambda module, inputs, output: None)
    watch, images = ForwardWatch(model, Objective(model, nn.Identity())), flow.ones(1, 2)
    for _ in range(2):
        with watch.watch(images):
            model(images)
    assert watch.changed_attributes["calls"] == ["0", "1", "2"]
    assert watch.changed_attributes["history"] == ["[]", "[1]", "[1, 2]"]
    assert len(set(watch.changed_attributes["generator"])) == 3
    assert set(watch.changed_attributes) == {"calls", "history", "generator"}
    assert (watch.host_draws, watch.hooked_modules) == (["random"], ["inner"])
    assert not watch.changes_input
    with watch.watch([images]):
        images.mul_(2)
    assert watch.changes_input


def test_an_outputs_user_is_the_innermost_module_that_takes_it():
    block = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model = nn.Sequential(nn.Linear(2, 2), block, nn.Linear(2, 1))
    with hook_modules(Objective(model, nn.Identity()), "output") as hooks:
        output = model(flow.ones(1, 2))
        output.sum().backward()
    users = hooks.list_users()
    assert (users["0"], users["1.0"], users["1.1"], users["2"]) == ("1.0", "1.1", "2", "output")
    gradients = hooks.list_gradients()
    assert np.array_equal(gradients["2"].numpy(), [[1.0]]) and all(hooks.list_requiring().values())


def test_a_module_called_twice_has_two_gradients():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    model.add_module("again", model[0])
    with hook_modules(Objective(model, nn.Identity()), "output") as hooks:
        model(flow.ones(1, 2)).sum().backward()
    assert {"0", "0 (call 2)"} <= set(hooks.list_gradients())
