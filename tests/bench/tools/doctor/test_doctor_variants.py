from __future__ import annotations

import pytest
from doctor_measurements import create_identity, create_machine, create_rounds

from oneflow_bench.bench.tools.doctor.diagnosis import CgroupLimits
from oneflow_bench.bench.tools.doctor.runtime_checks import (
    SCHEDULER,
    WORKER_BYTES,
    count_affordable,
    plan_variants,
    summarize_gain,
)


@pytest.mark.parametrize(
    "environment, kernel, machine, identity, expected",
    [
        ({}, "Haswell", {}, {}, {"onednn": "0", "scheduler": "0", "huge_pages": "hugetlb=1"}),
        ({"ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD": "0"}, None, {}, {}, {"scheduler": None}),
        ({"GLIBC_TUNABLES": "x=1"}, None, {}, {}, {"huge_pages": None}),
        ({}, None, {"huge_pages": "always"}, {}, {"huge_pages": None}),
        ({}, None, {}, {"libc": "glibc 2.31"}, {"huge_pages": None}),
        ({}, "Barcelona", {"cpu_flags": ["sse2"]}, {}, {"blas": None}),
        ({"OMP_NUM_THREADS": "4"}, None, {}, {}, {"threads": None}),
        ({"OMP_NUM_THREADS": "many"}, None, {}, {}, {"threads": None}),
    ],
)
def test_only_what_may_help_is_tried(environment, kernel, machine, identity, expected):
    planned = plan_variants(
        environment, kernel, create_machine(**machine), create_identity(**identity).libc
    )
    assert planned["control"] == {}
    for name, value in expected.items():
        if value is None:
            assert name not in planned
        else:
            assert next(iter(planned[name].values())).endswith(value)


def test_the_control_comes_first():
    planned = plan_variants({}, "Barcelona", create_machine(), create_identity().libc)
    assert list(planned) == ["control", "blas", "onednn", "scheduler", "huge_pages"]


def test_workers_fit_into_the_tighter_of_machine_and_group():
    assert count_affordable(create_machine()) > 1000
    machine = create_machine(
        available_bytes=9 * WORKER_BYTES,
        cgroup=CgroupLimits(memory_bytes=5 * WORKER_BYTES, memory_used_bytes=WORKER_BYTES),
    )
    assert count_affordable(machine) == 4
    assert count_affordable(create_machine(available_bytes=2 * WORKER_BYTES + 1)) == 2


def test_a_gain_is_the_median_ratio_over_rounds():
    gain = summarize_gain(create_rounds(step_s=0.03, scheduler=0.02), SCHEDULER)
    assert gain.factor == pytest.approx(1.504, abs=0.001) and gain.rounds == 6
    assert gain.lowest < gain.factor < gain.highest and gain.material
    assert "1.50 (1.50 to 1.51) times as long" in gain.describe()


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
