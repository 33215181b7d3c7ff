"""One layer alone on real OneFlow, in both modes."""

from __future__ import annotations

import types

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.parity.isolated_layer import find_module, record_layer, run_isolated
from oneflow_bench.bench.parity.tensors import LayerCall
from oneflow_bench.bench.training.job import copy_state, create_job

pytestmark = pytest.mark.oneflow


def draw(*shape, seed=0):
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def isolate(layer, inputs, gradient, training, mode, state=None, dtype="float32"):
    call = LayerCall("", None, training, inputs, state or copy_state(layer), gradient)
    return run_isolated(layer, call, mode, dtype)


class Sum(nn.Module):
    """Two inputs, two outputs, of which one is an integer."""

    def forward(self, x, index):
        return [x[index], (index + 1,)]


class Drift(nn.Module):
    """Computes something else inside a graph."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(flow.ones(4))

    def forward(self, x):
        return x * self.weight * (1.5 if x.is_lazy else 1.0)


IMAGE = (2, 4, 6, 6)
LAYERS = {
    "conv": (lambda: nn.Conv2d(4, 4, 3, padding=1), ["input", "weight", "bias"]),
    "grouped conv": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False),
                     ["input", "weight"]),
    "bn": (lambda: nn.BatchNorm2d(4), ["input", "weight", "bias"]),
    "relu": (nn.ReLU, ["input"]),
    "in-place relu": (lambda: nn.ReLU(inplace=True), ["input"]),
    "dropout": (lambda: nn.Dropout(0.4), ["input"]),
    "composite": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True)),
                  ["input", "0.weight", "0.bias"]),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("with_gradient", [True, False])
def test_a_true_layer_is_bitwise_the_same_in_both_modes(name, training, with_gradient):
    create, differentiated = LAYERS[name]
    layer = create()
    layer(flow.tensor(draw(*IMAGE, seed=3)))  # it has been used: buffers and random state moved on
    before = {key: value.numpy().copy() for key, value in layer.state_dict().items()}
    gradient = draw(*IMAGE, seed=1) if with_gradient else None
    eager, graph = (
        isolate(layer, [draw(*IMAGE)], gradient, training, mode) for mode in ("eager", "graph")
    )
    wanted = ["output"] + [f"{n} gradient" for n in differentiated if with_gradient]
    assert list(eager)[: len(wanted)] == wanted
    assert list(graph) == list(eager)
    unequal = [key for key in eager if eager[key].tobytes() != graph[key].tobytes()]
    # OneFlow's graph leaves the counter of batches alone
    assert unequal == (["num_batches_tracked"] if name == "bn" and training else [])
    assert np.abs(eager["output"]).max() > 0
    assert layer.training
    for key, value in layer.state_dict().items():
        assert value.numpy().tobytes() == before[key].tobytes()


def test_gradients_are_those_of_plain_autograd():
    layer, gradient = nn.Conv2d(4, 3, 3), draw(2, 3, 4, 4, seed=1)
    x = flow.tensor(draw(*IMAGE), requires_grad=True)
    output = layer(x)
    output.backward(flow.tensor(gradient))
    run = isolate(layer, [draw(*IMAGE)], gradient, True, "eager")
    assert run["output"].tobytes() == output.numpy().tobytes()
    assert run["input gradient"].tobytes() == x.grad.numpy().tobytes()
    assert run["weight gradient"].tobytes() == layer.weight.grad.numpy().tobytes()


def test_running_statistics_move_in_both_modes():
    layer = nn.BatchNorm2d(4)
    for mode in ("eager", "graph"):
        buffers = isolate(layer, [draw(*IMAGE)], None, True, mode)
        assert np.abs(buffers["running_mean"]).min() > 0
    assert np.abs(layer.running_mean.numpy()).max() == 0


def test_weights_come_from_a_state_and_a_reference_in_float64():
    layer = nn.Linear(3, 2)
    state = {"weight": draw(2, 3), "bias": draw(2)}
    x, gradient = draw(5, 3, seed=1), draw(5, 2, seed=2)
    for mode in ("eager", "graph"):
        run = isolate(layer, [x], gradient, True, mode, state=state, dtype="float64")
        assert {array.dtype for array in run.values()} == {np.dtype(np.float64)}
        exact = x.astype(np.float64) @ state["weight"].T.astype(np.float64) + state["bias"]
        assert np.allclose(run["output"], exact, rtol=1e-14, atol=1e-14)
    assert layer.weight.dtype == flow.float32
    assert not np.array_equal(layer.weight.numpy(), state["weight"])


def test_a_frozen_parameter_has_no_gradient():
    layer = nn.Linear(3, 2)
    layer.weight.requires_grad = False
    for mode in ("eager", "graph"):
        run = isolate(layer, [draw(5, 3)], draw(5, 2), True, mode)
        assert [name for name in run if "gradient" in name] == ["input gradient", "bias gradient"]


def test_several_inputs_and_outputs():
    index = np.array([2, 0])
    for mode in ("eager", "graph"):
        run = isolate(Sum(), [draw(3, 2), index], None, True, mode)
        assert list(run) == ["output 0", "output 1"]
        assert np.array_equal(run["output 0"], draw(3, 2)[index])
        assert np.array_equal(run["output 1"], index + 1)


def test_a_layer_that_differs_is_seen():
    x, gradient = draw(3, 4), draw(3, 4, seed=1)
    eager, graph = (isolate(Drift(), [x], gradient, True, mode) for mode in ("eager", "graph"))
    assert list(eager) == ["output", "input gradient", "weight gradient"]
    for name in eager:
        assert np.allclose(graph[name], eager[name] * 1.5), name


def test_a_forward_put_on_the_instance_is_part_of_the_copy():
    layer = nn.Linear(4, 4, bias=False)
    original = layer.forward

    def forward(self, x):
        return original.__func__(self, x) * 2.0

    object.__setattr__(layer, "forward", types.MethodType(forward, layer))
    x, gradient = draw(3, 4), draw(3, 4, seed=1)
    eager, graph = (isolate(layer, [x], gradient, True, mode) for mode in ("eager", "graph"))
    assert eager["output"].tobytes() == graph["output"].tobytes()
    assert np.allclose(eager["output"], 2 * x @ layer.weight.numpy().T, atol=1e-5)
    assert np.allclose(graph["weight gradient"], 2 * gradient.T @ x, atol=1e-5)


def test_a_hook_fires_alone_as_it_does_in_the_model():
    layer = nn.ReLU()
    layer.register_forward_hook(lambda module, inputs, output: output + 1.0)
    eager, graph = (isolate(layer, [draw(4)], None, True, mode) for mode in ("eager", "graph"))
    assert np.array_equal(eager["output"], graph["output"] + 1.0)  # hooks do not fire in a graph


def test_a_seeded_dropout_starts_over_from_its_seed():
    layer, ones = nn.Dropout(0.5), np.ones((8, 8), np.float32)
    layer.generator.manual_seed(7)
    first = layer(flow.tensor(ones)).numpy().copy()
    assert np.array_equal(isolate(layer, [ones], None, True, "eager")["output"], first)
    assert not np.array_equal(isolate(layer, [ones], None, True, "graph")["output"], first)


def test_another_mode_is_refused():
    with pytest.raises(InputError, match="mode 'fast' was given"):
        isolate(nn.Linear(3, 2), [draw(5, 3)], None, True, "fast")


def test_an_output_gradient_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 3\) was given for the output of Linear"):
        isolate(nn.Linear(3, 2), [draw(5, 3)], draw(3, 3), True, "eager")


def test_a_state_of_another_layer_is_refused():
    with pytest.raises(RuntimeError, match="bias"):
        state = {"weight": draw(2, 3)}
        isolate(nn.Linear(3, 2), [draw(5, 3)], None, True, "eager", state)


def test_an_output_that_is_no_tensor_is_refused():
    class Named(nn.Module):
        def forward(self, x):
            return "x"

    with pytest.raises(ValueError, match="Named returned a str without tensors"):
        isolate(Named(), [draw(2)], None, True, "eager")


RECIPE = {"data": "synthetic", "feed": "memory", "batch_size": 4, "val_batch_size": 4}


TAUGHT = {"loss": "distillation", "alpha": 0.5, "temperature": 2.0, "teacher": "lenet"}
WORKLOAD = Workload(model="cnn", image_size=32, **RECIPE, **TAUGHT)


@pytest.fixture
def job():
    return create_job(WORKLOAD, None, 4, "cpu")


def test_names_of_hooked_outputs_lead_to_their_modules(job):
    assert find_module(job, "bn1") == (job.model.bn1, 1)
    assert find_module(job, "relu (call 3)") == (job.model.relu, 3)
    assert find_module(job, "output[0]") == (job.model, 1)
    assert find_module(job, "teacher.features.0")[0] is job.teacher.features[0]


def test_the_recorded_call_runs_in_isolation_to_the_same_output(job, tmp_path):
    recording = record_layer(job, "conv2", training=True, workload=WORKLOAD)
    assert recording.kind == "Conv2d" and recording.training
    assert recording.constructor.startswith("nn.Conv2d(32, 64")
    assert recording.inputs[0].shape == (4, 32, 16, 16)
    assert recording.output_gradient.shape == (4, 64, 16, 16)
    recording.save(tmp_path / "recording.npz")
    call = LayerCall.load(tmp_path / "recording.npz")
    assert (call.kind, call.constructor) == (recording.kind, recording.constructor)
    assert np.array_equal(call.inputs[0], recording.inputs[0])
    assert set(call.state) == {"weight", "bias"}
    assert np.array_equal(call.output_gradient, recording.output_gradient)
    eager, graph = (run_isolated(job.model.conv2, call, mode) for mode in ("eager", "graph"))
    assert eager.keys() == graph.keys() and len(eager) == 4
    assert all(np.array_equal(eager[name], graph[name]) for name in eager)


def test_a_later_call_and_evaluation_without_gradient(job):
    second = record_layer(job, "relu (call 2)", training=False, workload=WORKLOAD)
    assert second.inputs[0].shape == (4, 64, 8, 8) and second.output_gradient is None
    assert not second.training
    assert "forward" not in job.model.relu.__dict__


def test_batch_norms_state_is_from_before_the_call(job):
    recording = record_layer(job, "bn1", training=True, workload=WORKLOAD)
    assert (recording.state["running_mean"] == 0).all()


def test_a_module_that_is_not_called_is_refused(job):
    with pytest.raises(ValueError, match="was not called"):
        record_layer(job, "relu (call 9)", training=False, workload=WORKLOAD)
