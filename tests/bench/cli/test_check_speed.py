from __future__ import annotations

from pathlib import Path

import pytest
from fakes import Clock, FakeSpeedWorker
from made_checks import create_check

from oneflow_bench.bench.cli import check as command
from oneflow_bench.bench.cli.check import add_speed, measure_speedup
from oneflow_bench.bench.config import Measuring
from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.plan.check_plan import create_check_plans
from oneflow_bench.bench.record.run import load_record

BUDGET_S = 40.0


@pytest.fixture
def plan():
    (plan,) = create_check_plans(["lenet"], {})
    return plan


@pytest.fixture
def world():
    """Scripted processes on a scripted clock: `world.launch`, and what may be changed of them."""

    class World:
        clock = Clock()
        graph_s, eager_s, fail_at = 0.008, 0.010, None

        def launch(self, contender):
            step_time_s = self.graph_s if contender.mode == "graph" else self.eager_s
            options = {"fail_at": self.fail_at} if contender.mode == "graph" else {}
            return FakeSpeedWorker(contender.name, self.clock, [], lambda: step_time_s, **options)

    return World()


def test_a_faster_graph_is_called_so_and_the_record_is_kept(tmp_path, plan, world):
    measuring = Measuring(speed=True, budget_s=BUDGET_S)
    found = measure_speedup(plan, tmp_path, measuring, lambda *_: None,
                            launch=world.launch, clock=world.clock)  # fmt: skip
    assert found.verdict == "faster" and found.error is None
    assert found.low <= found.ratio <= found.high and found.ratio == pytest.approx(1.25, rel=0.01)
    assert found.control_verdict != "faster" and found.replicates >= 3
    assert load_record(tmp_path / "speed").document.status == "complete"


def test_a_worker_that_dies_is_a_result_with_its_message(tmp_path, plan, world):
    world.fail_at = ("measure", 3, WorkerError("the worker died", "its last line"))
    measuring = Measuring(speed=True, budget_s=BUDGET_S)
    found = measure_speedup(plan, tmp_path, measuring, lambda *_: None,
                            launch=world.launch, clock=world.clock)  # fmt: skip
    assert found.verdict == "inconclusive" and found.ratio is None
    assert "the worker died" in found.error and found.error.endswith("its last line")
    assert load_record(tmp_path / "speed").document.status == "failed"


def test_the_speed_is_measured_after_the_check_with_the_flags_given(tmp_path, plan, monkeypatch):
    done = []

    def check_model(plan, folder, timeout_s, observe):
        done.append("check")
        return create_check(plan.workload.model)

    def measure(plan, folder, measuring, observe):
        done.append((Path(folder), measuring.budget_s))

    monkeypatch.setattr(command, "measure_speedup", measure)
    checker = add_speed(check_model, Measuring(speed=True, budget_s=7.0))
    assert checker(plan, tmp_path, 60.0, lambda *_: None).model == "lenet"
    assert done == ["check", (tmp_path, 7.0)]
