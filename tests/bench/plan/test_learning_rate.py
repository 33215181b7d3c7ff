from __future__ import annotations

import itertools

import oneflow as flow
import pytest

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.plan.lr_schedule import learning_rate
from oneflow_bench.bench.training.optimizers import create_optimizer, create_scheduler

STEPS = 7
EPOCHS = 5
SCHEDULES = {
    "constant": {},
    "step": {"lr_step": 2, "lr_gamma": 0.3},
    "multistep": {"lr_milestones": [1, 3], "lr_gamma": 0.2},
    "cosine": {},
}


@pytest.mark.oneflow
@pytest.mark.parametrize(
    "schedule, warmup, scale", itertools.product(SCHEDULES, [0, 1, 1.5], [False, True])
)
def test_the_formulas_are_what_oneflow_s_schedulers_set(schedule, warmup, scale):
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
    for step in range(EPOCHS * STEPS):
        set_by_oneflow = optimizer.param_groups[0]["lr"]
        expected = learning_rate(workload, STEPS, step)
        assert set_by_oneflow == pytest.approx(expected, rel=1e-12, abs=1e-15), step
        if scheduler is not None:
            scheduler.step()


def test_the_warm_up_rises_by_the_step_and_scaling_follows_the_batch():
    workload = Workload(lr=0.1, warmup_epochs=1, schedule="constant", batch_size=64, scale_lr=True)
    rates = [learning_rate(workload, 4, step) for step in range(6)]
    assert rates == pytest.approx([0, 0.0125, 0.025, 0.0375, 0.05, 0.05])
