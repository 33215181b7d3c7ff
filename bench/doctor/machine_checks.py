"""Judges what the machine itself says: readings in, checks out; pure."""

from __future__ import annotations

from typing import Dict, List, Optional

from oneflow_bench.doctor import thresholds
from oneflow_bench.doctor.readings import ActivityReading, CgroupReading, MachineReading
from oneflow_bench.doctor.result import ATTENTION, OK, UNKNOWN, Check, Number
from oneflow_bench.stability import HOT_C, OTHERS_CORES, STEAL_SHARE


def check_machine(
    machine: MachineReading, activity: ActivityReading, worker_bytes: Optional[int]
) -> List[Check]:
    """All checks that need no OneFlow; `worker_bytes` is the doctor's worker's peak memory."""
    return [
        check_neighbours(activity, machine.usable_cores),
        check_steal(activity, machine.usable_cores),
        check_frequency(machine),
        check_cores(machine),
        check_cgroup(machine, activity, worker_bytes),
        check_swap(machine, activity),
    ]


def check_neighbours(activity: ActivityReading, cores: int) -> Check:
    """Other processes: the quietest moment counts, so that a passing one is no finding."""
    if not activity.others_cores:
        return Check(name="neighbours", status=UNKNOWN, evidence="/proc/stat cannot be read")
    others = min(activity.others_cores)
    evidence = f"other processes use {others:.2f} of {cores} cores; load {activity.load:.1f}"
    measured: Dict[str, Number] = {"others_cores": others, "cores": cores, "load": activity.load}
    if others <= OTHERS_CORES:
        return Check(name="neighbours", status=OK, evidence=evidence, measured=measured)
    # OneFlow keeps two threads busy, the computing one and the scheduler's
    wanted = others + min(2, cores)
    factor = max(1.0, wanted / cores)
    return Check(
        name="neighbours",
        status=ATTENTION,
        evidence=evidence,
        measured=measured,
        consequence=f"up to {factor:.2f} times the step time, and no two runs alike",
        step_time_factor=factor,
        remedy="end the other processes (top shows them), or keep cores apart with taskset",
    )


def check_steal(activity: ActivityReading, cores: int) -> Check:
    """Time that the hypervisor took."""
    if activity.steal_s is None or not activity.duration_s:
        return Check(name="steal", status=UNKNOWN, evidence="/proc/stat shows no steal time")
    share = activity.steal_s / (activity.duration_s * cores)
    measured: Dict[str, Number] = {"steal_share": share}
    evidence = f"the hypervisor took {share * 100:.1f} % of the processor time"
    if share <= STEAL_SHARE:
        return Check(name="steal", status=OK, evidence=evidence, measured=measured)
    factor = 1 / (1 - min(share, 0.99))
    return Check(
        name="steal",
        status=ATTENTION,
        evidence=evidence,
        measured=measured,
        consequence=f"{factor:.2f} times the step time where it hits, and no two runs alike",
        step_time_factor=factor,
        remedy="measure at another hour, or on a machine that is not shared",
    )


def check_frequency(machine: MachineReading) -> Check:
    """The governor, the clock under load, and the temperature."""
    read = machine.frequency
    measured: Dict[str, Number] = {
        "busy_hz": read.busy_hz,
        "highest_hz": read.highest_hz,
        "temperature_c": read.temperature_c,
    }
    if not read.governors and read.temperature_c is None:
        return Check(
            name="frequency",
            status=UNKNOWN,
            evidence="the kernel shows neither governor nor temperature, as in virtual machines",
        )
    held_down = set(read.governors) & set(thresholds.SLOW_GOVERNORS)
    dynamic = set(read.drivers) & set(thresholds.DYNAMIC_DRIVERS)
    share = read.busy_hz / read.highest_hz if read.busy_hz and read.highest_hz else None
    slow = share is not None and share < thresholds.FREQUENCY_SHARE
    hot = read.temperature_c is not None and read.temperature_c >= HOT_C
    parts = [f"governor {', '.join(read.governors)}"] if read.governors else []
    if read.busy_hz and read.highest_hz:
        parts.append(f"{read.busy_hz / 1e9:.2f} of {read.highest_hz / 1e9:.2f} GHz under load")
    if read.temperature_c is not None:
        parts.append(f"{read.temperature_c:.0f} degrees C")
    evidence = "; ".join(parts)
    if not (slow or hot or (held_down and not dynamic)):
        return Check(name="frequency", status=OK, evidence=evidence, measured=measured)
    return Check(
        name="frequency",
        status=ATTENTION,
        evidence=evidence,
        measured=measured,
        consequence=f"{1 / share:.2f} times the step time" if share else "cannot be told here",
        step_time_factor=1 / share if share else None,
        remedy="let the processor cool, clean its fans"
        if hot and not held_down
        else "cpupower frequency-set -g performance",
    )


def check_cores(machine: MachineReading) -> Check:
    """Whether the scheduler's thread and the computing one have a core each."""
    usable, physical = machine.usable_cores, machine.physical_cores
    measured: Dict[str, Number] = {
        "usable_cores": usable,
        "online_cores": machine.online_cores,
        "physical_cores": physical,
    }
    said = (
        "how many of them share a core is not known"
        if physical is None
        else (
            f"{usable} of {usable} are cores of their own"
            if physical == usable
            else f"hyper-threads of {physical} cores"
        )
    )
    evidence = f"{usable} of {machine.online_cores} processors usable, {said}"
    if usable > 1 and (physical is None or physical > 1):
        return Check(name="cores", status=OK, evidence=evidence, measured=measured)
    return Check(
        name="cores",
        status=ATTENTION,
        evidence=evidence,
        measured=measured,
        consequence="OneFlow's scheduler thread takes time from the thread that computes",
        remedy="taskset -c 0-1, or a machine with two cores; else "
        "ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD=0",
    )


def check_cgroup(
    machine: MachineReading, activity: ActivityReading, worker_bytes: Optional[int]
) -> Check:
    """Limits of the control groups: processors, time taken by throttling, memory left."""
    limits = machine.cgroup
    short_of_cores = limits.cores is not None and limits.cores < machine.usable_cores
    short_of_memory = _is_short_of_memory(limits, worker_bytes)
    measured: Dict[str, Number] = {
        "limit_cores": limits.cores,
        "throttled_s": activity.throttled_s,
        "limit_bytes": limits.memory_bytes,
        "used_bytes": limits.memory_used_bytes,
    }
    evidence = _describe_limits(limits, activity)
    if not short_of_cores and not short_of_memory:
        return Check(name="cgroup", status=OK, evidence=evidence, measured=measured)
    consequences, remedies, factor = [], [], None
    if short_of_cores and limits.cores is not None:
        # the computing thread and the scheduler's use up the time of two
        factor = max(1.0, min(2, machine.usable_cores) / limits.cores)
        consequences.append(
            f"OneFlow is stopped while it computes, up to {factor:.2f} times the step time"
        )
        remedies.append("raise the container's processor limit (docker --cpus)")
    if short_of_memory:
        consequences.append("two modes side by side may be ended for want of memory")
        remedies.append("raise the container's memory limit (docker --memory)")
    return Check(
        name="cgroup",
        status=ATTENTION,
        evidence=evidence,
        measured=measured,
        consequence="; ".join(consequences),
        step_time_factor=factor,
        remedy="; ".join(remedies),
    )


def _is_short_of_memory(limits: CgroupReading, worker_bytes: Optional[int]) -> bool:
    if limits.memory_bytes is None or worker_bytes is None:
        return False
    left = limits.memory_bytes - (limits.memory_used_bytes or 0)
    return left < thresholds.HEADROOM_WORKERS * worker_bytes


def _describe_limits(limits: CgroupReading, activity: ActivityReading) -> str:
    parts = []
    if limits.cores is not None:
        parts.append(f"{limits.cores:.2f} cores of processor time")
    if activity.throttled_s:
        parts.append(f"stopped for {activity.throttled_s:.2f} s just now")
    if limits.memory_bytes is not None:
        left = limits.memory_bytes - (limits.memory_used_bytes or 0)
        parts.append(f"{left / 2**30:.1f} of {limits.memory_bytes / 2**30:.1f} GiB memory left")
    return "limits: " + ", ".join(parts) if parts else "no limits"


def check_swap(machine: MachineReading, activity: ActivityReading) -> Check:
    """Pages that went to or came from the swap while the doctor worked."""
    if activity.swapped_pages is None or machine.swap_total_bytes is None:
        return Check(name="swap", status=UNKNOWN, evidence="/proc/vmstat cannot be read")
    used, total = machine.swap_used_bytes or 0, machine.swap_total_bytes
    measured: Dict[str, Number] = {
        "swapped_pages": activity.swapped_pages,
        "swap_used_bytes": used,
        "swap_total_bytes": total,
    }
    evidence = (
        f"{activity.swapped_pages} pages moved while measuring, "
        f"{used / 2**30:.1f} of {total / 2**30:.1f} GiB used"
        if total
        else "there is none"
    )
    if not activity.swapped_pages:
        return Check(name="swap", status=OK, evidence=evidence, measured=measured)
    return Check(
        name="swap",
        status=ATTENTION,
        evidence=evidence,
        measured=measured,
        consequence="steps wait for the disk",
        remedy="end what holds the memory, use a smaller --batch-size, or swapoff -a",
    )
