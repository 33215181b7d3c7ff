"""How a program is judged against stock, with made-up runs."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file
from tuning_machine import Machine, create_request

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.parity.judge import PERTURBED_SEEDS
from oneflow_bench.bench.record.events import TrainedBlock
from oneflow_bench.bench.tools.tune.candidates import create_program
from oneflow_bench.bench.tools.tune.parity import (
    OTHER_RUN,
    STOCK_RUN,
    WEIGHTS,
    ParityCheck,
    Trained,
    measure_loss_difference,
    perturb,
)

LOSSES = (1.0, 0.5, 0.25)
COUNT = 1000


class Judged(ParityCheck):
    """With runs that were trained before: `runs` gives them by the judge's names."""

    def __init__(self, folder):
        super().__init__(Machine().launch, 4, None, folder, 60.0, trained_steps=len(LOSSES))
        self.folder, self.runs = folder, {}
        self.runs[STOCK_RUN] = self.make(STOCK_RUN)
        self.trained = []

    def make(self, run, error=0.0, losses=LOSSES, seed=0, labels="l", images="i", tensors=None):
        """A run whose weights are off by `error`, relative, at random."""
        exact = 1.0 + np.random.RandomState(5).rand(COUNT)
        noise = np.random.RandomState(seed).uniform(-error, error, COUNT)
        dtype = "float64" if run == "reference" else "float32"
        values = {"w": (exact * (1 + noise)).astype(dtype), "count": np.array(3), **(tensors or {})}
        (self.folder / run).mkdir(exist_ok=True)
        save_file(values, self.folder / run / WEIGHTS)
        block = TrainedBlock(
            duration_s=1.0, cpu_s=1.0, first_step=0, losses=list(losses), lr=[],
            labels_digest=labels, images_digest=images,
        )  # fmt: skip
        self.runs[run] = Trained(block, str(values), self.folder / run, None, 0.1)
        return self.runs[run]

    def train(self, program, run=OTHER_RUN):
        self.trained.append(run)
        return self.runs[run]

    def judge(self, *arguments, **more):
        (program,) = [create_program("eager", [], create_request({}).plan.workload)]
        self.run_baseline(program)
        self.trained = []
        return self.compare(self.make(OTHER_RUN, *arguments, **more))


@pytest.fixture
def check(tmp_path):
    return Judged(tmp_path)


def test_equal_bits_are_identical_and_need_no_other_run(check):
    found = check.judge()
    assert found.verdict == "identical" and found.loss_difference == 0 and check.trained == []


def test_rounding_is_told_by_the_reference(check):
    check.make(STOCK_RUN, 2e-7, seed=1)
    check.make("reference")
    found = check.judge(3e-7, seed=2)
    assert found.verdict == "equal within rounding" and "last bits" in found.reason
    assert check.trained == ["reference"]


def test_weights_that_are_off_are_different_and_the_level_is_named(check):
    check.make(STOCK_RUN, 1e-7, seed=1)
    check.make("reference")
    for run in PERTURBED_SEEDS:
        check.make(run, 1e-7, seed=3)
    found = check.judge(1e-4, seed=2)
    assert found.verdict == "different" and found.reason.startswith("trained: w: error")
    assert "stock's is" in found.reason and check.trained == ["reference", *PERTURBED_SEEDS]


def test_a_rounding_that_grows_in_a_perturbed_run_too_is_no_difference(check):
    check.make(STOCK_RUN, 1e-7, seed=1)
    check.make("reference")
    for run in PERTURBED_SEEDS:
        check.make(run, 1e-5, seed=3)
    assert check.judge(1e-5, seed=2).verdict == "equal within rounding"


def test_runs_beside_which_a_difference_is_judged_are_trained_once(check):
    check.make("reference")
    check.judge(3e-8)
    check.compare(check.make(OTHER_RUN, 4e-8, seed=2))
    assert check.trained == ["reference"]


def test_the_losses_come_before_the_weights(check):
    for run in ("reference", *PERTURBED_SEEDS):
        check.make(run)
    found = check.judge(1e-3, losses=(1.0, 0.6, 0.25))
    assert found.reason.startswith("loss curve: losses to step 2")
    assert found.loss_difference == pytest.approx(0.2)


@pytest.mark.parametrize("more", [{"labels": "x"}, {"images": "x"}])
def test_other_batches_are_no_parity_at_all(check, more):
    check.make("reference")
    found = check.judge(**more)
    assert found.verdict == "different" and found.reason.startswith("batches: ")


def test_images_inside_a_graph_cannot_be_held_against_others(check):
    assert check.judge(images=None).verdict == "identical"


@pytest.mark.parametrize("tensors", [{"count": np.array(4)}, {"w": np.ones(2, np.float32)}])
def test_another_counter_or_shape_is_different(check, tensors):
    check.make("reference")
    assert check.judge(tensors=tensors).verdict == "different"


def test_losses_that_are_not_finite(check):
    for run in ("reference", *PERTURBED_SEEDS):
        check.make(run)
    check.make(STOCK_RUN, losses=(1.0, None, 1.0))
    found = check.judge(losses=(1.0, None, 1.0))
    assert found.verdict == "identical" and found.loss_difference is None
    assert check.judge(losses=(1.0, 2.0, 1.0)).verdict == "different"
    assert measure_loss_difference((1.0, None), (1.0, None)) is None


def test_a_perturbed_run_is_off_by_one_rounding():
    weights = {"w": np.linspace(1, 2, 100, dtype=np.float32), "count": np.array(3)}
    workload, moved = perturb(Workload(optimizer="adam", clip_norm=1.0), weights, 1)
    assert set(np.abs(moved["w"].view(np.int32) - weights["w"].view(np.int32))) == {1}
    assert moved["count"] == 3 and workload.lr > Workload().lr and workload.clip_norm > 1
    down = perturb(Workload(optimizer="adam", clip_norm=1.0), weights, 2)[0]
    assert down.lr < Workload().lr and down.clip_norm < 1
