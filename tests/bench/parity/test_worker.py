"""The worker's turns for one layer, on real OneFlow."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.parity.tensors import LayerCall, LayerRequest, SideRequest
from oneflow_bench.bench.parity.worker import ParitySession
from oneflow_bench.bench.plan.check_plan import create_check_plans
from oneflow_bench.bench.plan.modes import MODES, ModeSpec

pytestmark = pytest.mark.oneflow


def create_side(folder, mode="graph", **options):
    (plan,) = create_check_plans(["lenet"], {})
    return SideRequest(
        workload=plan.workload,
        contender=Contender(name=mode, mode=mode, graph_options=options),
        steps_per_epoch=plan.steps_per_epoch,
        dataset=None,
        folder=folder / "values",
        steps=2,
        checkpoint_step=1,
        wanted={},
    )


@pytest.fixture
def session(tmp_path):
    session = ParitySession()
    answer = session.start(create_side(tmp_path))
    assert {entry["level"] for entry in answer["entries"]} == {"initial weights"}
    return session


def request(folder, name):
    paths = {word: folder / f"{word}.npz" for word in ("recording", "output", "reference")}
    return LayerRequest(name=name, training=True, **paths)


def test_a_layer_is_recorded_once_and_run(session, tmp_path):
    layer = request(tmp_path, "features.0")
    assert session.run_isolated(layer) == {"refused": None}
    assert LayerCall.load(layer.recording).kind == "Conv2d"
    with np.load(tmp_path / "output.npz") as found:
        assert {"output", "input gradient", "weight gradient"} <= set(found.files)
        with np.load(tmp_path / "reference.npz") as exact:
            assert exact["output"].dtype == np.float64
            np.testing.assert_allclose(exact["output"], found["output"], rtol=1e-3, atol=1e-6)
    recorded = layer.recording.read_bytes()
    assert session.run_isolated(layer) == {"refused": None}
    assert layer.recording.read_bytes() == recorded


def test_a_refused_layer_is_not_run_and_the_answer_has_the_reason(session, tmp_path):
    layer = request(tmp_path, "features.0 (call 9)")
    assert session.run_isolated(layer) == {"refused": "features.0 (call 9) was not called"}
    assert not layer.output.exists()


def test_graph_options_that_leave_the_operators_as_they_were_are_listed(tmp_path):
    session = ParitySession()
    session.start(create_side(tmp_path, enable_amp=True, allow_fuse_model_update_ops=True))
    session.first_step({})
    session.train({})
    assert session.resume({})["idle_options"] == ["enable_amp"]


def test_a_third_mode_is_not_taken_for_graph_mode(monkeypatch, tmp_path):
    spec = ModeSpec("wide", "oneflow_bench.bench.training.eager:EagerMode")
    monkeypatch.setitem(MODES, "wide", spec)
    session = ParitySession()
    session.start(create_side(tmp_path, "wide"))
    with pytest.raises(InputError, match="mode 'wide' was given and a parity check observes eager"):
        session.eval_forward({})
    with pytest.raises(InputError, match="mode 'wide' was given"):
        session.first_step({})


def test_oneflow_is_imported_by_the_start_alone():
    code = "import sys, oneflow_bench.bench.parity.worker; print('oneflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
