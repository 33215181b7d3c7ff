from __future__ import annotations

import pytest
from doctor_readings import create_rounds

from oneflow_bench.bench.tools.doctor.readings import SCHEDULER
from oneflow_bench.bench.tools.doctor.variants import summarize_gain


def test_a_gain_is_the_median_ratio_over_rounds():
    gain = summarize_gain(create_rounds(step_s=0.03, scheduler=0.02), SCHEDULER)
    assert gain.factor == pytest.approx(1.504, abs=0.001) and gain.rounds == 6
    assert gain.lowest < gain.factor < gain.highest and gain.material
    assert gain.describe() == "1.50 (1.50 to 1.51)"


@pytest.mark.parametrize(
    "variants",
    [
        {"scheduler": 0.028},  # 7 %: too little
        {"scheduler": 0.024, "control": 0.036},  # 25 %, where the control differs by 17 %
        {"scheduler": 0.024, "control": 0.026},  # the control is faster by as much
    ],
)
def test_a_small_or_unsure_gain_is_not_material(variants):
    gain = summarize_gain(create_rounds(**variants), SCHEDULER)
    assert gain.factor > 1.05 and not gain.material


def test_one_lost_round_is_enough_not_to_be_sure():
    lost = create_rounds(scheduler=0.04, count=1)
    gain = summarize_gain(create_rounds(scheduler=0.02) + lost, SCHEDULER)
    assert gain.factor > 1.4 and gain.lowest < 1 and not gain.material


def test_too_few_rounds_say_nothing():
    assert summarize_gain(create_rounds(scheduler=0.02, count=4), SCHEDULER) is None
    assert summarize_gain(create_rounds(), "blas") is None


def test_without_a_control_nothing_is_material():
    rounds = [
        r.model_copy(update={"variants": {SCHEDULER: r.variants[SCHEDULER]}})
        for r in create_rounds(scheduler=0.02)
    ]
    assert not summarize_gain(rounds, SCHEDULER).material
