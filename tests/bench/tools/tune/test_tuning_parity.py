"""How a program is screened and accepted, with made-up runs."""

from __future__ import annotations

import pytest
from tuning_machine import Machine, create_request, variable

from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.record.events import TrainedBlock
from oneflow_bench.bench.tools.tune.candidates import create_program
from oneflow_bench.bench.tools.tune.parity import (
    GROSS_LOSS,
    Outcome,
    ParityCheck,
    Trained,
    measure_loss_difference,
)

LOSSES = (1.0, 0.5, 0.25)


def train(losses=LOSSES, digest="w", labels="l", images="i"):
    block = TrainedBlock(
        duration_s=1.0, cpu_s=1.0, first_step=0, losses=list(losses), lr=[],
        labels_digest=labels, images_digest=images,
    )  # fmt: skip
    return Trained(block, digest, None, 0.1)


@pytest.fixture
def machine():
    return Machine({"A=1": 1.5})


@pytest.fixture
def check(machine, tmp_path):
    check = ParityCheck(machine.launch, machine.judge, 4, None, tmp_path, 60.0)
    check.run_baseline(create_program("eager", [], create_request({}).plan.workload))
    check.baseline = train()
    return check


def test_equal_bits_are_identical_and_others_are_left_to_the_judge(check, machine):
    found = check.compare(train())
    assert found.verdict == "identical" and found.loss_difference == 0
    assert check.compare(train(digest="x")).verdict == "not judged"
    found = check.compare(train(losses=(1.0, 0.51, 0.25)))
    assert found.verdict == "not judged" and found.loss_difference == pytest.approx(0.02)
    assert machine.judged == []


@pytest.mark.parametrize(
    "run, reason",
    [
        ({"labels": "x"}, "other batches"),
        ({"images": "x"}, "other batches"),
        ({"losses": (1.0, 0.5 * (1 + 2 * GROSS_LOSS), 0.25)}, "off by 2.0e-01 of stock's"),
        ({"losses": (1.0, None, 0.25)}, "not finite"),
    ],
)
def test_what_is_grossly_wrong_needs_no_judge(check, run, reason):
    found = check.compare(train(**run))
    assert found.verdict == "parity failed" and reason in found.reason


def test_images_inside_a_graph_cannot_be_held_against_others(check):
    assert check.compare(train(images=None)).verdict == "identical"


def test_losses_that_are_not_finite_on_both_sides_are_equal(check):
    check.baseline = train(losses=(1.0, None))
    found = check.compare(train(losses=(1.0, None)))
    assert found.verdict == "identical" and found.loss_difference is None
    assert measure_loss_difference((1.0, None), (1.0, None)) is None


@pytest.mark.parametrize(
    "error, verdict, parity",
    [
        (0.0, "faster", "identical"),
        (1e-7, "faster", "equal within rounding"),
        (1e-3, "parity failed", "different"),
    ],
)
def test_a_faster_program_is_accepted_by_the_judge_alone(check, machine, error, verdict, parity):
    machine.errors = {"A=1": error}
    program = create_program("eager", [variable("A=1")], create_request({}).plan.workload)
    for _ in range(2):
        found = check.accept(program, Outcome(verdict="faster", reason="quick"))
        assert (found.verdict, found.fidelity.verdict) == (verdict, parity)
    assert machine.judged == ["A=1"]  # once
    slow = Outcome(verdict="slower", reason="slow")
    assert check.accept(program, slow) is slow


def test_a_judge_that_failed_accepts_nothing(check):
    def fail(stock, program):
        raise WorkerError("the worker 'reference' died")

    check.judge_pair = fail
    program = create_program("eager", [variable("A=1")], create_request({}).plan.workload)
    found = check.accept(program, Outcome(verdict="faster", reason="quick"))
    assert found.verdict == "parity failed"
    assert found.reason == "inconclusive; the worker 'reference' died"
