"""Judges the machine: measurements in, checks out; pure."""

from __future__ import annotations

from typing import List, Optional

from ...verdict.conditions import HOT_C, OTHERS_CORES, STEAL_SHARE
from .diagnosis import (
    Activity,
    CgroupLimits,
    Check,
    Finding,
    Frequency,
    Machine,
    create_check,
    create_unknown,
)

OWN_THREADS = 2  # that OneFlow keeps busy: the computing one and the scheduler's

# of the highest clock, with a core busy: without boost many processors run at 0.6 to 0.8 of it, and
# that is no fault
FREQUENCY_SHARE = 0.5

# governors that hold the clock down by themselves; intel_pstate and amd-pstate in active mode call
# their dynamic governor powersave (kernel documentation, admin-guide/pm)
SLOW_GOVERNORS = ("powersave", "conservative")
DYNAMIC_DRIVERS = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")

# a page from a fast disk takes about 0.1 ms, so that these are 1 % of the time
SWAPPED_PAGES_PER_S = 100.0

# memory left below the limit, in sizes of the doctor's own worker
HEADROOM_WORKERS = 2.0


def check_machine(machine: Machine, activity: Activity, worker_bytes: Optional[int]) -> List[Check]:
    """All checks that need no OneFlow; `worker_bytes` is the doctor's worker's peak memory."""
    return [
        check_neighbours(activity, machine.usable_cores),
        check_steal(activity, machine.usable_cores),
        check_frequency(machine.frequency),
        check_cores(machine),
        check_cgroup(machine, activity, worker_bytes),
        check_swap(machine, activity),
    ]


def check_neighbours(activity: Activity, cores: int) -> Check:
    """Other processes. The quietest window counts, so that a passing one is no finding."""
    if not activity.others_cores:
        return create_unknown("neighbours", "/proc/stat cannot be read")
    others, finding = min(activity.others_cores), None
    if others > OTHERS_CORES:
        factor = max(1.0, (others + min(OWN_THREADS, cores)) / cores)
        finding = Finding(
            f"a step takes up to {factor:.2f} times as long, and runs differ from each other",
            "end the other processes (top shows them), or keep cores apart with taskset",
            factor,
        )
    evidence = f"other processes use {others:.2f} of {cores} cores; load {activity.load:.1f}"
    measured = {"others_cores": others, "cores": cores, "load": activity.load}
    return create_check("neighbours", evidence, measured, finding)


def check_steal(activity: Activity, cores: int) -> Check:
    """Time that the hypervisor took."""
    if activity.steal_s is None or not activity.duration_s:
        return create_unknown("steal", "/proc/stat shows no steal time")
    share, finding = activity.steal_s / (activity.duration_s * cores), None
    if share > STEAL_SHARE:
        factor = 1 / (1 - min(share, 0.99))
        finding = Finding(
            f"steps take {factor:.2f} times as long, and runs differ from each other",
            "measure at another hour, or on a machine that is not shared",
            factor,
        )
    evidence = f"the hypervisor took {share * 100:.1f} % of the processor time"
    return create_check("steal", evidence, {"steal_share": share}, finding)


def check_frequency(read: Frequency) -> Check:
    """The governor, the clock under load, and the temperature."""
    if not read.governors and read.temperature_c is None:
        return create_unknown(
            "frequency",
            "the kernel shows neither governor nor temperature, as is usual in virtual machines",
        )
    share, finding = None, None
    evidence = [f"governor {', '.join(read.governors)}"] if read.governors else []
    if read.busy_hz and read.highest_hz:
        share = read.busy_hz / read.highest_hz
        evidence.append(f"{read.busy_hz / 1e9:.2f} of {read.highest_hz / 1e9:.2f} GHz under load")
    if read.temperature_c is not None:
        evidence.append(f"{read.temperature_c:.0f} degrees C")
    dynamic = set(read.drivers) & set(DYNAMIC_DRIVERS)
    held_down = bool(set(read.governors) & set(SLOW_GOVERNORS) and not dynamic)
    hot = read.temperature_c is not None and read.temperature_c >= HOT_C
    if held_down or hot or (share is not None and share < FREQUENCY_SHARE):
        finding = Finding(
            f"a step takes up to {1 / share:.2f} times as long" if share else "not measurable here",
            "let the processor cool, clean its fans"
            if hot and not held_down
            else "cpupower frequency-set -g performance",
            1 / share if share else None,
        )
    measured = read.model_dump(include={"busy_hz", "highest_hz", "temperature_c"})
    return create_check("frequency", "; ".join(evidence), measured, finding)


def check_cores(machine: Machine) -> Check:
    """Whether the scheduler's thread and the computing one have a core each."""
    usable, physical, finding = machine.usable_cores, machine.physical_cores, None
    if usable < OWN_THREADS or physical == 1:
        finding = Finding(
            "OneFlow's scheduler thread takes time from the thread that computes",
            "taskset -c 0-1, or a machine with two cores; else "
            "ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD=0",
        )
    evidence = f"{usable} of {machine.online_cores} processors usable, "
    if physical is None:
        evidence += "the kernel does not show whether they share cores"
    elif physical == usable:
        evidence += "none shares a core"
    else:
        evidence += f"hyper-threads of {physical} core{'s' if physical > 1 else ''}"
    shared = min(usable, physical or usable)
    if shared > 1:  # no setting changes it, so it is no finding
        evidence += (
            f"; a process multiplies matrices on one of them, and bench compare --ranks {shared} "
            f"--contender ddp measures the speed of {shared} processes"
        )
    measured = machine.model_dump(include={"usable_cores", "online_cores", "physical_cores"})
    return create_check("cores", evidence, measured, finding)


def check_cgroup(machine: Machine, activity: Activity, worker_bytes: Optional[int]) -> Check:
    """Limits of the control groups: processors, time taken by throttling, memory left."""
    limits = machine.cgroup
    left = (limits.memory_bytes or 0) - (limits.memory_used_bytes or 0)
    findings = []
    if limits.cores is not None and limits.cores < machine.usable_cores:
        factor = max(1.0, min(OWN_THREADS, machine.usable_cores) / limits.cores)
        findings.append(
            Finding(
                "the limit stops OneFlow while it computes, and a step takes up to "
                f"{factor:.2f} times as long",
                "raise the container's processor limit (docker --cpus)",
                factor,
            )
        )
    short = worker_bytes is not None and left < HEADROOM_WORKERS * worker_bytes
    if limits.memory_bytes is not None and short:
        findings.append(
            Finding(
                "the kernel may end one of two modes side by side for want of memory",
                "raise the container's memory limit (docker --memory)",
            )
        )
    finding = None
    if findings:
        finding = Finding(
            "; ".join(one.consequence for one in findings),
            "; ".join(one.remedy for one in findings),
            findings[0].step_time_factor,
        )
    measured = {
        "limit_cores": limits.cores,
        "throttled_s": activity.throttled_s,
        "limit_bytes": limits.memory_bytes,
        "used_bytes": limits.memory_used_bytes,
    }
    evidence = _describe_limits(limits, left, activity.throttled_s)
    return create_check("cgroup", evidence, measured, finding)


def _describe_limits(limits: CgroupLimits, left_bytes: int, throttled_s: Optional[float]) -> str:
    parts = []
    if limits.cores is not None:
        parts.append(f"{limits.cores:.2f} cores of processor time")
    if throttled_s:
        parts.append(f"stopped for {throttled_s:.2f} s just now")
    if limits.memory_bytes is not None:
        limit = limits.memory_bytes / 2**30
        parts.append(f"{left_bytes / 2**30:.1f} of {limit:.1f} GiB memory left")
    return "limits: " + ", ".join(parts) if parts else "no limits"


def check_swap(machine: Machine, activity: Activity) -> Check:
    """Pages that went to or came from the swap while the doctor worked."""
    moved, total = activity.swapped_pages, machine.swap_total_bytes
    if moved is None or total is None:
        return create_unknown("swap", "/proc/vmstat and /proc/meminfo do not show it")
    used = machine.swap_used_bytes or 0
    finding = None
    if moved > SWAPPED_PAGES_PER_S * activity.duration_s:
        finding = Finding(
            "steps wait for the disk",
            "end the processes that hold the memory, use a smaller --batch-size, or swapoff -a",
        )
    evidence = "there is none"
    if total:
        used_gib, total_gib = used / 2**30, total / 2**30
        evidence = (
            f"{moved} pages moved while measuring, {used_gib:.1f} of {total_gib:.1f} GiB used"
        )
    measured = {"swapped_pages": moved, "swap_used_bytes": used, "swap_total_bytes": total}
    return create_check("swap", evidence, measured, finding)
