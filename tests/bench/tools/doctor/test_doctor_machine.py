from __future__ import annotations

import os

import pytest

from oneflow_bench.bench.tools.doctor.machine import (
    CPUS,
    count_physical_cores,
    measure_activity,
    read_cgroup,
    read_frequency,
    read_machine,
    read_moment,
    read_throttled_s,
    watch_others,
)


@pytest.fixture
def plant(tmp_path):
    """Writes files below a folder that stands for /."""

    def write(**files):
        for name, text in files["files"].items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return tmp_path

    return write


def test_this_machine_is_read():
    machine = read_machine()
    assert machine.usable_cores == len(os.sched_getaffinity(0)) <= machine.online_cores
    assert machine.cpu_model


def test_an_empty_machine_is_read_as_unknown(tmp_path):
    machine = read_machine(tmp_path)
    assert machine.cpu_flags == [] and machine.physical_cores is None
    assert machine.huge_pages is None and machine.swap_total_bytes is None
    assert machine.frequency.governors == [] and machine.frequency.busy_hz is None
    assert machine.cgroup.cores is None and machine.cgroup.memory_bytes is None
    assert watch_others(0.01, tmp_path) == [] and read_throttled_s(tmp_path) is None


def test_hyper_threads_are_counted_once(plant):
    topology = f"{CPUS}/cpu%d/topology/thread_siblings_list"
    root = plant(files={topology % n: siblings for n, siblings in enumerate(["0,2", "1", "0,2"])})
    assert count_physical_cores({0, 1, 2}, root) == 2
    assert count_physical_cores({0, 2}, root) == 1
    assert count_physical_cores({0, 7}, root) is None


def test_limits_of_control_groups_of_version_2_count_with_those_above(plant):
    root = plant(
        files={
            "proc/self/cgroup": "0::/pod/inner",
            "sys/fs/cgroup/cpu.max": "max 100000",
            "sys/fs/cgroup/pod/cpu.max": "150000 100000",
            "sys/fs/cgroup/pod/memory.max": "1000",
            "sys/fs/cgroup/pod/memory.current": "900",
            "sys/fs/cgroup/pod/inner/cpu.max": "200000 100000",
            "sys/fs/cgroup/pod/inner/memory.max": "max",
            "sys/fs/cgroup/pod/inner/cpu.stat": "nr_throttled 3\nthrottled_usec 2500000",
        }
    )
    cgroup = read_cgroup(root)
    assert (cgroup.cores, cgroup.memory_bytes, cgroup.memory_used_bytes) == (1.5, 1000, 900)
    assert read_throttled_s(root) == 2.5


def test_limits_of_control_groups_of_version_1(plant):
    root = plant(
        files={
            "proc/self/cgroup": "3:cpu,cpuacct:/job\n2:memory:/job\n1:name=systemd:/",
            "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "50000",
            "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu/job/cpu.stat": "throttled_time 1500000000",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "4096",
            "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "1024",
        }
    )
    cgroup = read_cgroup(root)
    assert (cgroup.cores, cgroup.memory_bytes, cgroup.memory_used_bytes) == (0.5, 4096, 1024)
    assert read_throttled_s(root) == 1.5


def test_governor_driver_and_clock_are_read(plant):
    files = {}
    for core, khz in (("cpu0", "1200000"), ("cpu1", "2900000")):
        folder = f"{CPUS}/{core}/cpufreq"
        files[f"{folder}/scaling_governor"] = "powersave"
        files[f"{folder}/scaling_driver"] = "acpi-cpufreq"
        files[f"{folder}/scaling_cur_freq"] = khz
        files[f"{folder}/cpuinfo_max_freq"] = "3000000"
    read = read_frequency(plant(files=files))
    assert (read.governors, read.drivers) == (["powersave"], ["acpi-cpufreq"])
    assert (read.busy_hz, read.highest_hz) == (2.9e9, 3e9)


def test_the_mode_in_brackets_and_the_driver_are_read(plant):
    root = plant(
        files={
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
            "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64  470.57.02  Jul 13",
            "proc/meminfo": "SwapTotal: 100 kB\nSwapFree: 60 kB",
        }
    )
    machine = read_machine(root)
    assert (machine.huge_pages, machine.nvidia_driver) == ("madvise", "470.57.02")
    assert (machine.swap_total_bytes, machine.swap_used_bytes) == (102400, 40960)


def test_moments_are_subtracted_and_what_went_backwards_is_unknown(plant):
    stat = "cpu  0 0 0 0 0 0 0 {} 0 0"
    root = plant(files={"proc/stat": stat.format(100), "proc/vmstat": "pswpin 5\npswpout 1"})
    before = read_moment(root)
    plant(files={"proc/stat": stat.format(50), "proc/vmstat": "pswpin 7\npswpout 2"})
    activity = measure_activity(before, read_moment(root), [0.5])
    assert activity.swapped_pages == 3 and activity.steal_s is None
    assert activity.others_cores == [0.5] and activity.duration_s > 0


def test_work_of_others_is_seen_while_this_process_sleeps():
    (cores,) = watch_others(0.05)
    assert cores >= 0
