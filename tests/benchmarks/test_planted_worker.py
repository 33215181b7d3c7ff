from __future__ import annotations

import json
import math

import pytest
from planting import create_planted_launcher

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.worker.environment import RuntimeResolver

PRODUCTS = 4000  # so many that other work on the machine cannot hide them


@pytest.mark.slow
@pytest.mark.oneflow
def test_a_planted_worker_does_extra_work_and_says_what_it_cost(tmp_path):
    truth = tmp_path / "truth.jsonl"
    planted = {"PLANTED_PRODUCTS": str(PRODUCTS), "PLANTED_TRUTH": str(truth)}
    contender = Contender(name="planted", mode="graph", env=planted)
    worker = create_planted_launcher(tmp_path, RuntimeResolver())(contender)
    workload = create_plan({"model": "lenet", "data": "synthetic", "batch_size": 8}).workload
    try:
        worker.ask(
            "prepare",
            120,
            workload=workload.model_dump(),
            contender=contender.model_dump(),
            steps_per_epoch=10,
        )
        worker.ask("compile", 120)
        calibrated = worker.ask("calibrate", 120)["products"]
        effect = worker.ask("plant", 120, products=PRODUCTS, double_pairs=4)["log_ratio"]
        answer = worker.ask("measure", 120, steps=4, lead_steps=1)
        worker.ask("end", 120)
    finally:
        worker.kill()
        worker.close()
    assert answer["duration_s"] > 0 and answer["minor_faults"] >= 0
    (log_ratio,) = [json.loads(line) for line in truth.read_text().splitlines()]
    share = PRODUCTS / calibrated  # what the products add to a step
    for cost in (log_ratio, effect):  # on whatever machine this is
        assert math.log1p(share / 3) < cost < math.log1p(3 * share)
