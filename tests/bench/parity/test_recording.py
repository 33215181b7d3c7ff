"""A module's call recorded and run alone, on real OneFlow."""

from __future__ import annotations

import numpy as np
import pytest

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.parity.recording import find_module, record_module, run_recorded
from oneflow_bench.bench.parity.tensors import load_recording
from oneflow_bench.bench.training.job import create_job

pytestmark = pytest.mark.oneflow

RECIPE = {"data": "synthetic", "feed": "memory", "batch_size": 4, "val_batch_size": 4}


@pytest.fixture
def job():
    recipe = {**RECIPE, "loss": "distillation", "alpha": 0.5, "temperature": 2.0}
    workload = Workload(model="cnn", teacher="lenet", image_size=32, **recipe)
    return create_job(workload, None, 4, "cpu")


def test_names_of_tapped_outputs_lead_to_their_modules(job):
    assert find_module(job, "bn1") == (job.model.bn1, 1)
    assert find_module(job, "relu (call 3)") == (job.model.relu, 3)
    assert find_module(job, "output[0]") == (job.model, 1)
    assert find_module(job, "teacher.features.0")[0] is job.teacher.features[0]


def test_the_recorded_call_runs_alone_to_the_same_output(job, tmp_path):
    recording = record_module(job, "conv2", training=True)
    assert recording.kind == "Conv2d" and recording.training
    assert recording.constructor.startswith("nn.Conv2d(32, 64")
    assert recording.inputs[0].shape == (4, 32, 16, 16)
    assert recording.output_gradient.shape == (4, 64, 16, 16)
    path = tmp_path / "recording.npz"
    assert recording.save(path)["kind"] == "Conv2d"
    inputs, state, gradient = load_recording(path)
    assert np.array_equal(inputs[0], recording.inputs[0]) and set(state) == {"weight", "bias"}
    assert np.array_equal(gradient, recording.output_gradient)
    eager = run_recorded(job, "conv2", path, True, "eager", "float32")
    graph = run_recorded(job, "conv2", path, True, "graph", "float32")
    assert eager.keys() == graph.keys() and len(eager) == 4
    assert all(np.array_equal(eager[name], graph[name]) for name in eager)


def test_a_later_call_and_evaluation_without_gradient(job):
    second = record_module(job, "relu (call 2)", training=False)
    assert second.inputs[0].shape == (4, 64, 8, 8) and second.output_gradient is None
    assert not second.training
    assert "forward" not in job.model.relu.__dict__


def test_batch_norms_state_is_from_before_the_call(job):
    recording = record_module(job, "bn1", training=True)
    assert (recording.state["running_mean"] == 0).all()


def test_a_module_that_is_not_called_is_refused(job):
    with pytest.raises(ValueError, match="was not called"):
        record_module(job, "relu (call 9)", training=False)
