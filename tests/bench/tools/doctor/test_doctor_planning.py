from __future__ import annotations

import pytest
from doctor_readings import create_identity, create_machine

from oneflow_bench.bench.tools.doctor.planning import WORKER_BYTES, count_affordable, plan_variants
from oneflow_bench.bench.tools.doctor.readings import CgroupReading


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
        environment, kernel, create_machine(**machine), create_identity(**identity)
    )
    assert planned["control"] == {}
    for name, value in expected.items():
        if value is None:
            assert name not in planned
        else:
            assert next(iter(planned[name].values())).endswith(value)


def test_the_control_comes_first():
    planned = plan_variants({}, "Barcelona", create_machine(), create_identity())
    assert list(planned) == ["control", "blas", "onednn", "scheduler", "huge_pages"]


def test_the_tighter_of_machine_and_group_says_how_many_workers_fit():
    assert count_affordable(create_machine()) is None
    machine = create_machine(
        available_bytes=9 * WORKER_BYTES,
        cgroup=CgroupReading(memory_bytes=5 * WORKER_BYTES, memory_used_bytes=WORKER_BYTES),
    )
    assert count_affordable(machine) == 4
    assert count_affordable(create_machine(available_bytes=2 * WORKER_BYTES + 1)) == 2
