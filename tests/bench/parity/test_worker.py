"""The worker's turns for one layer, on real OneFlow."""

from __future__ import annotations

import numpy as np
import pytest

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.parity.tensors import LayerRequest, SideRequest
from oneflow_bench.bench.plan.check_plan import create_check_plans

pytestmark = pytest.mark.oneflow


@pytest.fixture
def session(tmp_path):
    from oneflow_bench.bench.parity.worker import ParitySession

    (plan,) = create_check_plans(["lenet"], {})
    side = SideRequest(
        workload=plan.workload,
        contender=Contender(name="graph", mode="graph"),
        steps_per_epoch=plan.steps_per_epoch,
        dataset=None,
        folder=tmp_path / "values",
        steps=2,
        checkpoint_step=1,
        wanted={},
    )
    session = ParitySession()
    answer = session.start(side.model_dump(mode="json"))
    assert {entry["level"] for entry in answer["entries"]} == {"initial weights"}
    return session


def request(folder, name):
    paths = {"path": folder / "recording.npz", "output": folder / "output.npz"}
    return LayerRequest(name=name, training=True, **paths).model_dump(mode="json")


def test_a_recorded_layer_is_run(session, tmp_path):
    layer = request(tmp_path, "features.0")
    recorded = session.record(layer)
    assert (recorded["refused"], recorded["kind"]) == (None, "Conv2d")
    assert session.run_isolated(layer) == {"refused": None}
    with np.load(tmp_path / "output.npz") as found:
        assert {"output", "input gradient", "weight gradient"} <= set(found.files)


def test_a_refused_layer_is_not_run_and_the_first_answer_has_the_reason(session, tmp_path):
    layer = request(tmp_path, "features.0 (call 9)")
    assert session.record(layer) == {"refused": "features.0 (call 9) was not called"}
    assert session.run_isolated(layer) == {"refused": "features.0 (call 9) was not recorded"}
