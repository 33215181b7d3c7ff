from __future__ import annotations

import pytest
from doctor_measurements import ask

from oneflow_bench.bench.tools.doctor.diagnosis import CgroupLimits, Frequency
from oneflow_bench.bench.tools.doctor.machine import MACHINE_CHECKS


def check(machine=None, activity=None):
    return ask(MACHINE_CHECKS, machine, activity)


def test_a_machine_with_everything_right_has_no_finding():
    assert {c.status for c in check().values()} == {"ok"}
    assert all(c.remedy == "" and c.step_time_factor is None for c in check().values())


FREQUENCY = {"governors": ["performance"], "busy_hz": 2.9e9, "highest_hz": 3e9}


@pytest.mark.parametrize(
    "name, machine, activity, evidence, factor, remedy",
    [
        ("neighbours", {}, {"others_cores": [4.0, 3.9]}, "3.90 of 4 cores", 1.475, "taskset"),
        ("steal", {}, {"steal_s": 12.0}, "took 20.0 %", 1.25, "not shared"),
        (
            "frequency",
            {"frequency": Frequency(**{**FREQUENCY, "governors": ["powersave"]})},
            {},
            "governor powersave; 2.90 of 3.00 GHz",
            3 / 2.9,
            "-g performance",
        ),
        (
            "frequency",
            {"frequency": Frequency(**{**FREQUENCY, "busy_hz": 1.2e9})},
            {},
            "1.20 of 3.00 GHz",
            2.5,
            "-g performance",
        ),
        (
            "frequency",
            {"frequency": Frequency(**FREQUENCY, temperature_c=95.0)},
            {},
            "95 degrees C",
            3 / 2.9,
            "cool",
        ),
        ("cores", {"usable_cores": 1, "physical_cores": 1}, {}, "1 of 4", None, "taskset"),
        (
            "cores",
            {"usable_cores": 2, "physical_cores": 1},
            {},
            "hyper-threads of 1 core",
            None,
            "ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD=0",
        ),
        (
            "cgroup",
            {"cgroup": CgroupLimits(cores=1.5)},
            {"throttled_s": 0.5},
            "1.50 cores of processor time, stopped for 0.50 s",
            2 / 1.5,
            "--cpus",
        ),
        (
            "cgroup",
            {"cgroup": CgroupLimits(memory_bytes=2 << 30, memory_used_bytes=(2 << 30) - 1)},
            {},
            "0.0 of 2.0 GiB memory left",
            None,
            "--memory",
        ),
        (
            "swap",
            {"swap_total_bytes": 4 << 30, "swap_used_bytes": 1 << 30},
            {"swapped_pages": 3000},
            "3000 pages moved while measuring, 1.0 of 4.0 GiB used",
            None,
            "swapoff",
        ),
    ],
)
def test_a_planted_fault_is_found_and_no_other(name, machine, activity, evidence, factor, remedy):
    found = check(machine, activity)
    assert [c.name for c in found.values() if c.status == "attention"] == [name]
    assert evidence in found[name].evidence and remedy in found[name].remedy
    assert found[name].consequence
    assert found[name].step_time_factor == (factor and pytest.approx(factor))


@pytest.mark.parametrize(
    "machine, activity",
    [
        ({}, {"others_cores": [2.0, 0.05]}),  # something passed by
        ({"usable_cores": 8, "physical_cores": 4, "online_cores": 8}, {}),
        ({"physical_cores": None}, {}),
        ({"cgroup": CgroupLimits(cores=4.0)}, {}),
        ({"cgroup": CgroupLimits(memory_bytes=8 << 30, memory_used_bytes=1 << 30)}, {}),
        ({"swap_total_bytes": 4 << 30, "swap_used_bytes": 1 << 30}, {}),  # in use, and at rest
        ({"swap_total_bytes": 4 << 30}, {"swapped_pages": 100}),  # of somebody's, now and then
        ({}, {"steal_s": 0.3}),  # 0.5 %
        (  # a governor that is dynamic by that driver
            {
                "frequency": Frequency(
                    **{**FREQUENCY, "governors": ["powersave"]}, drivers=["intel_pstate"]
                )
            },
            {},
        ),
    ],
)
def test_what_is_only_unusual_is_no_finding(machine, activity):
    assert {c.status for c in check(machine, activity).values()} == {"ok"}


def test_what_cannot_be_read_is_unknown_and_no_finding():
    found = check(
        {"frequency": Frequency(), "swap_total_bytes": None},
        {"steal_s": None, "others_cores": [], "swapped_pages": None},
    )
    unknown = sorted(c.name for c in found.values() if c.status == "unknown")
    assert unknown == ["frequency", "neighbours", "steal", "swap"]
    assert all(c.evidence for c in found.values())


@pytest.mark.parametrize(
    "usable, physical, ranks",
    [(4, 4, "4"), (8, 4, "4"), (4, None, "4"), (1, 1, None), (2, 1, None)],
)
def test_cores_that_one_process_leaves_idle_point_to_ranks(usable, physical, ranks):
    found = check({"usable_cores": usable, "physical_cores": physical})["cores"]
    pointed = f"--ranks {ranks} --contender ddp" if ranks else "--ranks"
    assert (pointed in found.evidence) is bool(ranks)
