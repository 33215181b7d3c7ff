"""Judges what the machine itself says: readings in, checks out; pure."""

from __future__ import annotations

from typing import List, Optional

from ...verdict.conditions import HOT_C, OTHERS_CORES, STEAL_SHARE
from . import thresholds
from .readings import ActivityReading, CgroupReading, FrequencyReading, MachineReading
from .result import Check, Finding, create_check, create_unknown

OWN_THREADS = 2  # that OneFlow keeps busy: the computing one and the scheduler's


def check_machine(
    machine: MachineReading, activity: ActivityReading, worker_bytes: Optional[int]
) -> List[Check]:
    """All checks that need no OneFlow; `worker_bytes` is the doctor's worker's peak memory."""
    return [
        check_neighbours(activity, machine.usable_cores),
        check_steal(activity, machine.usable_cores),
        check_frequency(machine.frequency),
        check_cores(machine),
        check_cgroup(machine, activity, worker_bytes),
        check_swap(machine, activity),
    ]


def check_neighbours(activity: ActivityReading, cores: int) -> Check:
    """Other processes: the quietest moment counts, so that a passing one is no finding."""
    if not activity.others_cores:
        return create_unknown("neighbours", "/proc/stat cannot be read")
    others, finding = min(activity.others_cores), None
    if others > OTHERS_CORES:
        factor = max(1.0, (others + min(OWN_THREADS, cores)) / cores)
        finding = Finding(
            f"up to {factor:.2f} times the step time, and no two runs alike",
            "end the other processes (top shows them), or keep cores apart with taskset",
            factor,
        )
    evidence = f"other processes use {others:.2f} of {cores} cores; load {activity.load:.1f}"
    measured = {"others_cores": others, "cores": cores, "load": activity.load}
    return create_check("neighbours", evidence, measured, finding)


def check_steal(activity: ActivityReading, cores: int) -> Check:
    """Time that the hypervisor took."""
    if activity.steal_s is None or not activity.duration_s:
        return create_unknown("steal", "/proc/stat shows no steal time")
    share, finding = activity.steal_s / (activity.duration_s * cores), None
    if share > STEAL_SHARE:
        factor = 1 / (1 - min(share, 0.99))
        finding = Finding(
            f"{factor:.2f} times the step time where it hits, and no two runs alike",
            "measure at another hour, or on a machine that is not shared",
            factor,
        )
    evidence = f"the hypervisor took {share * 100:.1f} % of the processor time"
    return create_check("steal", evidence, {"steal_share": share}, finding)


def check_frequency(read: FrequencyReading) -> Check:
    """The governor, the clock under load, and the temperature."""
    if not read.governors and read.temperature_c is None:
        return create_unknown(
            "frequency",
            "the kernel shows neither governor nor temperature, as in virtual machines",
        )
    share = read.busy_hz / read.highest_hz if read.busy_hz and read.highest_hz else None
    measured = {
        "busy_hz": read.busy_hz,
        "highest_hz": read.highest_hz,
        "temperature_c": read.temperature_c,
    }
    return create_check(
        "frequency", _describe_frequency(read), measured, _judge_frequency(read, share)
    )


def _judge_frequency(read: FrequencyReading, share: Optional[float]) -> Optional[Finding]:
    """`share` is that of the highest clock which a busy core reached."""
    dynamic = set(read.drivers) & set(thresholds.DYNAMIC_DRIVERS)
    held_down = set(read.governors) & set(thresholds.SLOW_GOVERNORS) and not dynamic
    hot = read.temperature_c is not None and read.temperature_c >= HOT_C
    slow = share is not None and share < thresholds.FREQUENCY_SHARE
    if not (held_down or hot or slow):
        return None
    return Finding(
        f"up to {1 / share:.2f} times the step time" if share else "cannot be told here",
        "let the processor cool, clean its fans"
        if hot and not held_down
        else "cpupower frequency-set -g performance",
        1 / share if share else None,
    )


def _describe_frequency(read: FrequencyReading) -> str:
    parts = [f"governor {', '.join(read.governors)}"] if read.governors else []
    if read.busy_hz and read.highest_hz:
        parts.append(f"{read.busy_hz / 1e9:.2f} of {read.highest_hz / 1e9:.2f} GHz under load")
    if read.temperature_c is not None:
        parts.append(f"{read.temperature_c:.0f} degrees C")
    return "; ".join(parts)


def check_cores(machine: MachineReading) -> Check:
    """Whether the scheduler's thread and the computing one have a core each."""
    usable, physical, finding = machine.usable_cores, machine.physical_cores, None
    if usable < OWN_THREADS or physical == 1:
        finding = Finding(
            "OneFlow's scheduler thread takes time from the thread that computes",
            "taskset -c 0-1, or a machine with two cores; else "
            "ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD=0",
        )
    if physical is None:
        said = "which of them share a core is not known"
    elif physical == usable:
        said = "none shares a core"
    else:
        said = f"hyper-threads of {physical} core{'s' if physical > 1 else ''}"
    shared = min(usable, physical or usable)
    if shared > 1:  # no setting changes it, so it is no finding
        said += (
            f"; a process multiplies matrices on one of them, and bench compare --ranks {shared} "
            f"--contender ddp measures what {shared} processes make of all"
        )
    return create_check(
        "cores",
        f"{usable} of {machine.online_cores} processors usable, {said}",
        {
            "usable_cores": usable,
            "online_cores": machine.online_cores,
            "physical_cores": physical,
        },
        finding,
    )


def check_cgroup(
    machine: MachineReading, activity: ActivityReading, worker_bytes: Optional[int]
) -> Check:
    """Limits of the control groups: processors, time taken by throttling, memory left."""
    limits = machine.cgroup
    findings = [
        finding
        for finding in (
            _judge_core_limit(limits, machine.usable_cores),
            _judge_memory_limit(limits, worker_bytes),
        )
        if finding is not None
    ]
    both = Finding(
        "; ".join(finding.consequence for finding in findings),
        "; ".join(finding.remedy for finding in findings),
        findings[0].step_time_factor if findings else None,
    )
    measured = {
        "limit_cores": limits.cores,
        "throttled_s": activity.throttled_s,
        "limit_bytes": limits.memory_bytes,
        "used_bytes": limits.memory_used_bytes,
    }
    evidence = _describe_limits(limits, activity)
    return create_check("cgroup", evidence, measured, both if findings else None)


def _judge_core_limit(limits: CgroupReading, cores: int) -> Optional[Finding]:
    if limits.cores is None or limits.cores >= cores:
        return None
    factor = max(1.0, min(OWN_THREADS, cores) / limits.cores)
    return Finding(
        f"OneFlow is stopped while it computes, up to {factor:.2f} times the step time",
        "raise the container's processor limit (docker --cpus)",
        factor,
    )


def _judge_memory_limit(limits: CgroupReading, worker_bytes: Optional[int]) -> Optional[Finding]:
    if limits.memory_bytes is None or worker_bytes is None:
        return None
    if _count_left(limits) >= thresholds.HEADROOM_WORKERS * worker_bytes:
        return None
    return Finding(
        "two modes side by side may be ended for want of memory",
        "raise the container's memory limit (docker --memory)",
    )


def _count_left(limits: CgroupReading) -> int:
    """Bytes below the memory limit."""
    return (limits.memory_bytes or 0) - (limits.memory_used_bytes or 0)


def _describe_limits(limits: CgroupReading, activity: ActivityReading) -> str:
    parts = []
    if limits.cores is not None:
        parts.append(f"{limits.cores:.2f} cores of processor time")
    if activity.throttled_s:
        parts.append(f"stopped for {activity.throttled_s:.2f} s just now")
    if limits.memory_bytes is not None:
        left, limit = _count_left(limits) / 2**30, limits.memory_bytes / 2**30
        parts.append(f"{left:.1f} of {limit:.1f} GiB memory left")
    return "limits: " + ", ".join(parts) if parts else "no limits"


def check_swap(machine: MachineReading, activity: ActivityReading) -> Check:
    """Pages that went to or came from the swap while the doctor worked."""
    moved, total = activity.swapped_pages, machine.swap_total_bytes
    if moved is None or total is None:
        return create_unknown("swap", "/proc/vmstat and /proc/meminfo do not say")
    used = machine.swap_used_bytes or 0
    finding = Finding(
        "steps wait for the disk",
        "end what holds the memory, use a smaller --batch-size, or swapoff -a",
    )
    evidence = (
        f"{moved} pages moved while measuring, {used / 2**30:.1f} of {total / 2**30:.1f} GiB used"
        if total
        else "there is none"
    )
    measured = {"swapped_pages": moved, "swap_used_bytes": used, "swap_total_bytes": total}
    often = moved > thresholds.SWAPPED_PAGES_PER_S * activity.duration_s
    return create_check("swap", evidence, measured, finding if often else None)
