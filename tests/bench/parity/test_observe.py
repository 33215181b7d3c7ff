"""What is looked at, on real OneFlow: without changing what is computed."""

from __future__ import annotations

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.parity.observe import (
    create_observed,
    observe_eval,
)
from oneflow_bench.bench.parity.tensors import list_backward
from oneflow_bench.bench.training.hooks import hook_modules, list_tensors
from oneflow_bench.bench.training.job import copy_state, create_job
from oneflow_bench.bench.training.losses import Objective
from oneflow_bench.bench.training.modes import ModeSetting, create_forward, create_mode

pytestmark = pytest.mark.oneflow

RECIPE = {"data": "synthetic", "feed": "memory", "batch_size": 4, "val_batch_size": 4}


def create(model, **recipe):
    return create_job(Workload(model=model, image_size=32, **{**RECIPE, **recipe}), None, 4, "cpu")


@pytest.mark.parametrize("model", ["lenet", pytest.param("resnet20", marks=pytest.mark.slow)])
def test_observed_steps_are_the_plain_steps_of_both_modes(model):
    losses, states, seen = [], [], []
    for mode in ("eager", "graph"):
        observed = create_observed(mode, create(model))
        steps = [observed.observe_step(with_outputs=True) for _ in range(2)]
        seen.append(steps)
        losses.append([float(step.loss.numpy()) for step in steps])
        states.append(copy_state(observed._job.model))
    job = create(model)
    workload, graph = Workload(), Contender(name="graph", mode="graph")
    plain = create_mode(job, ModeSetting(workload, graph, 2))
    plain.compile_train()
    losses.append([float(plain.train_step()[0].numpy()) for _ in range(2)])
    states.append(copy_state(job.model))
    assert losses[0] == losses[1] == losses[2]
    trained = [name for name in states[0] if not name.endswith("num_batches_tracked")]
    for name in trained:
        assert np.array_equal(states[0][name], states[1][name]), name
        assert np.array_equal(states[1][name], states[2][name]), name
    eager, graph = (steps[1] for steps in seen)
    assert [(n, k) for n, k, _ in eager.outputs] == [(n, k) for n, k, _ in graph.outputs]
    assert all(np.array_equal(a, b) for (*_, a), (*_, b) in zip(eager.outputs, graph.outputs))
    assert eager.outputs[-1][0] == "output" and eager.outputs[-1][2].shape == (4, 10)
    assert eager.gradients.keys() == graph.gradients.keys()
    assert all(np.array_equal(eager.gradients[n], graph.gradients[n]) for n in eager.gradients)


def test_a_module_called_twice_has_two_outputs_and_a_later_overwrite_is_not_seen():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU(inplace=True)
            self.scale = nn.Linear(2, 2)

        def forward(self, x):
            return self.relu(self.scale(self.relu(x)))

    model = Twice()
    images = flow.tensor([[-1.0, 2.0]])
    for mode in ("eager", "graph"):
        outputs = observe_eval(mode, Objective(model, nn.Identity()), images.clone())
        names = [name for name, _, _ in outputs]
        assert names == ["relu", "scale", "relu (call 2)", "output"]
        scaled, rectified = outputs[1][2], outputs[2][2]
        assert np.array_equal(np.maximum(scaled, 0), rectified) and scaled.min() < 0
    assert "forward" not in model.relu.__dict__


class AsksForGradients(nn.Module):
    def forward(self, x):
        return x + 1 if flow.is_grad_enabled() else x


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_an_evaluation_has_no_gradients_in_either_mode(mode):
    images = flow.zeros(1, 2)
    outputs = observe_eval(mode, Objective(AsksForGradients(), nn.Identity()), images)
    assert not outputs[-1][2].any()
    assert not create_forward(mode, AsksForGradients(), images)[0](images).numpy().any()


def test_graph_options_hold_in_the_observed_graphs():
    job = create("lenet")
    observed = create_observed("graph", job, {"enable_amp": True})
    assert observed._graph.config.proto.enable_auto_mixed_precision
    with pytest.raises(InputError, match="unknown graph option"):
        observe_eval("graph", job.objective, flow.ones(1, 3, 32, 32), {"allow_nothing": True})


def test_modules_are_as_before_also_after_an_error():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(RuntimeError), hook_modules(Objective(model, nn.Identity()), "output"):
        assert "forward" in model[0].__dict__
        raise RuntimeError
    assert "forward" not in model[0].__dict__ and "forward" not in model.__dict__


def test_tensors_in_nested_outputs_have_names_of_their_own():
    one = flow.ones(1)
    nested = {"a": [one, (one, None)], "b": one, "c": 3}
    assert [name for name, _ in list_tensors(nested)] == ["[a][0]", "[a][1][0]", "[b]"]


def test_a_teacher_is_seen_and_its_outputs_are_named():
    job = create("lenet", loss="distillation", alpha=0.5, temperature=2.0, teacher="lenet")
    outputs = create_observed("graph", job).observe_step(with_outputs=True).outputs
    names = [name for name, _, _ in outputs]
    assert "teacher" in names and "teacher.features.0" in names and "features.0" in names


def test_parameters_are_listed_as_the_backward_pass_reaches_them():
    outputs = [("a", "Linear", None), ("b", "Linear", None), ("output", "Net", None)]
    found = list_backward(outputs, ["a.weight", "own", "b.weight", "b.bias", "unused.weight"])
    assert found == ["own", "b.weight", "b.bias", "a.weight", "unused.weight"]
