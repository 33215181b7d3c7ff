from __future__ import annotations

import itertools
import math

import oneflow as flow
import pytest

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.plan.lr_schedule import base_learning_rate, warmup_steps
from oneflow_bench.bench.training.optimizers import create_optimizer, create_scheduler, read_rates

STEPS = 7
EPOCHS = 5
SCHEDULES = {
    "constant": {},
    "step": {"lr_step": 2, "lr_gamma": 0.3},
    "multistep": {"lr_milestones": [1, 3], "lr_gamma": 0.2},
    "cosine": {},
    "linear": {},
    "exponential": {"lr_gamma": 0.4},
}


def learning_rate(workload: Workload, steps_per_epoch: int, step: int) -> float:
    """Learning rate of `step` (from 0).

    step: lr * gamma ** (step // step_size); multistep: lr * gamma ** (milestones passed);
    cosine: lr / 2 * (1 + cos(pi * step / steps of the run)); linear: lr * (1 - step / steps of the
    run); exponential: lr * gamma ** (step / steps of an epoch); constant: lr. During the warm-up
    the rate rises linearly from lr / N to the schedule's value at the last of its N steps.
    """
    warmup = warmup_steps(workload, steps_per_epoch)
    if step < warmup:
        first = base_learning_rate(workload) / warmup
        last = _scheduled(workload, steps_per_epoch, warmup - 1)
        return first + (last - first) * step / max(1, warmup - 1)
    return _scheduled(workload, steps_per_epoch, step)


def _scheduled(workload: Workload, steps_per_epoch: int, step: int) -> float:
    lr = base_learning_rate(workload)
    if workload.schedule == "step":
        return float(lr * workload.lr_gamma ** (step // (workload.lr_step * steps_per_epoch)))
    if workload.schedule == "multistep":
        passed = sum(step >= epoch * steps_per_epoch for epoch in workload.lr_milestones)
        return float(lr * workload.lr_gamma**passed)
    if workload.schedule == "cosine":
        total = workload.epochs * steps_per_epoch
        return lr * 0.5 * (1 + math.cos(math.pi * min(step, total) / total))
    if workload.schedule == "linear":
        return lr * max(0.0, 1 - step / (workload.epochs * steps_per_epoch))
    if workload.schedule == "exponential":
        return float(lr * workload.lr_gamma ** (step / steps_per_epoch))
    return lr


@pytest.mark.oneflow
@pytest.mark.parametrize(
    "schedule, warmup, scale", itertools.product(SCHEDULES, [0, 1, 1.5], [False, True])
)
def test_the_recorded_rate_is_the_formula_s_and_what_oneflow_sets(schedule, warmup, scale):
    workload = Workload(
        schedule=schedule,
        warmup_epochs=warmup,
        scale_lr=scale,
        epochs=EPOCHS,
        lr=0.3,
        **SCHEDULES[schedule],
    )
    optimizer = create_optimizer(workload, flow.nn.Linear(2, 2))
    scheduler = create_scheduler(workload, optimizer, STEPS)
    rates = read_rates(optimizer, scheduler, range(EPOCHS * STEPS))
    for step in range(EPOCHS * STEPS):
        set_by_oneflow = optimizer.param_groups[0]["lr"]
        expected = learning_rate(workload, STEPS, step)
        assert rates[step] == set_by_oneflow
        assert set_by_oneflow == pytest.approx(expected, rel=1e-12, abs=1e-15), step
        if scheduler is not None:
            scheduler.step()


@pytest.mark.oneflow
@pytest.mark.parametrize(
    "steps, rates", [(4, [0.0125, 0.025, 0.0375, 0.05, 0.05]), (2, [0.025, 0.05]), (1, [0.05])]
)
def test_the_warm_up_begins_with_a_step_that_learns(steps, rates):
    workload = Workload(lr=0.1, warmup_epochs=1, schedule="constant", batch_size=64, scale_lr=True)
    optimizer = create_optimizer(workload, flow.nn.Linear(2, 2))
    scheduler = create_scheduler(workload, optimizer, steps)
    assert read_rates(optimizer, scheduler, range(len(rates))) == pytest.approx(rates)
