"""Reads the machine from a folder that stands for /, so that a test can make one up; judges it.

A value that the kernel does not show is None or is left out.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

from ...record.machine import read_count, read_cpu, read_kib_bytes, read_steal_seconds
from ...training.counters import read_busy_s, subtract_counters
from ...verdict.conditions import HOT_C, OTHERS_CORES, STEAL_SHARE, read_temperature_c
from .diagnosis import Activity, Answer, CgroupLimits, Frequency, Machine, Measured, search, unknown

ROOT = Path("/")
CPUS = "sys/devices/system/cpu"
CGROUPS = "sys/fs/cgroup"
NO_LIMIT_BYTES = 1 << 60  # control groups of version 1 write a huge number for "no limit"

OWN_THREADS = 2  # that OneFlow keeps busy: the computing one and the scheduler's

# of the highest clock with a core busy; without boost many sound processors run at 0.6 to 0.8 of it
FREQUENCY_SHARE = 0.5

# governors that hold the clock down by themselves; intel_pstate and amd-pstate in active mode call
# their dynamic governor powersave (kernel documentation, admin-guide/pm)
SLOW_GOVERNORS = {"powersave", "conservative"}
DYNAMIC_DRIVERS = {"intel_pstate", "amd-pstate-epp", "amd_pstate_epp"}

SWAPPED_PAGES_PER_S = 100.0  # 1 % of the time, as a page from a fast disk takes about 0.1 ms
HEADROOM_WORKERS = 2.0  # memory left below the limit, in sizes of the doctor's own worker


def read_machine(root: Path = ROOT) -> Machine:
    """The fixed properties of the machine, and its frequency now."""
    cpu = read_cpu(root / "proc/cpuinfo")
    usable = os.sched_getaffinity(0)
    available, swap_total, swap_free = (
        read_kib_bytes(root / "proc/meminfo", name)
        for name in ("MemAvailable:", "SwapTotal:", "SwapFree:")
    )
    return Machine(
        cpu_model=cpu["model"],
        cpu_flags=cpu["flags"],
        online_cores=os.cpu_count() or len(usable),
        usable_cores=len(usable),
        physical_cores=count_physical_cores(usable, root),
        cgroup=read_cgroup(root),
        frequency=read_frequency(root),
        available_bytes=available,
        # the kernel puts its mode in brackets
        huge_pages=search(r"\[(\w+)\]", _read(root / "sys/kernel/mm/transparent_hugepage/enabled")),
        swap_total_bytes=swap_total,
        swap_used_bytes=None if swap_total is None else swap_total - (swap_free or 0),
        nvidia_driver=search(r"(\d+\.\d+[\d.]*)", _read(root / "proc/driver/nvidia/version")),
    )


def count_physical_cores(usable: Set[int], root: Path = ROOT) -> Optional[int]:
    """The number of cores that have these processors as their threads."""
    folders = [root / CPUS / f"cpu{number}" / "topology" for number in usable]
    siblings = {_read(folder / "thread_siblings_list") for folder in folders}
    return len(siblings) if all(siblings) else None


def read_cgroup(root: Path = ROOT) -> CgroupLimits:
    """The tightest processor and memory limits, of control groups of either version."""
    cores: List[float] = []
    memory: List[Tuple[int, Optional[int]]] = []
    for folder in list_cgroup_folders(root):
        quota = _read(folder / "cpu.max").split()
        quota = quota or [_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
            cores.append(int(quota[0]) / int(quota[1]))
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = _read(folder / limit_name), _read(folder / used_name)
            if limit.isdigit() and int(limit) < NO_LIMIT_BYTES:
                memory.append((int(limit), int(used) if used.isdigit() else None))
    least, used_bytes = min(memory, key=lambda found: found[0], default=(None, None))
    tightest = min(cores, default=None)
    return CgroupLimits(cores=tightest, memory_bytes=least, memory_used_bytes=used_bytes)


def list_cgroup_folders(root: Path = ROOT) -> List[Path]:
    """The folders of this process's groups and of the groups above them, of every controller."""
    folders = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        tops = [controllers, *controllers.split(",")] if controllers else ["", "unified"]
        for base in (root / CGROUPS / top for top in tops):
            group = base / path.lstrip("/")
            folders += [base, group, *(up for up in group.parents if base in up.parents)]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def read_throttled_s(root: Path = ROOT) -> Optional[float]:
    """Seconds for which a processor limit has stopped this process's groups."""
    units = {"throttled_usec": 1e-6, "throttled_time": 1e-9}  # of version 2 and of version 1
    files = [folder / "cpu.stat" for folder in list_cgroup_folders(root)]
    counts = [(read_count(file, name), unit) for file in files for name, unit in units.items()]
    return max((count * unit for count, unit in counts if count is not None), default=None)


def read_frequency(root: Path = ROOT) -> Frequency:
    """Governors, drivers and frequencies of the cores, and the temperature."""
    governors, drivers, clocks, limits = (
        sorted({_read(path) for path in (root / CPUS).glob(f"cpu[0-9]*/cpufreq/{name}")} - {""})
        for name in ("scaling_governor", "scaling_driver", "scaling_cur_freq", "cpuinfo_max_freq")
    )
    return Frequency(
        governors=governors,
        drivers=drivers,
        busy_hz=max((int(khz) * 1e3 for khz in clocks if khz.isdigit()), default=None),
        highest_hz=max((int(khz) * 1e3 for khz in limits if khz.isdigit()), default=None),
        temperature_c=read_temperature_c(root / "sys/class/thermal"),
    )


def read_moment(root: Path = ROOT) -> Dict[str, Optional[float]]:
    """Counts that only grow, by the fields of `Activity` that their differences are."""
    swapped = [read_count(root / "proc/vmstat", name) for name in ("pswpin", "pswpout")]
    return {
        "duration_s": time.monotonic(),
        "steal_s": read_steal_seconds(root / "proc/stat"),
        "swapped_pages": None if None in swapped else sum(count or 0 for count in swapped),
        "throttled_s": read_throttled_s(root),
    }


def measure_activity(
    before: Dict[str, Optional[float]], after: Dict[str, Optional[float]], others_cores: List[float]
) -> Activity:
    changes: Dict[str, Any] = subtract_counters(after, before)
    return Activity(**changes, others_cores=others_cores, load=os.getloadavg()[0])


def watch_others(duration_s: float, root: Path = ROOT) -> List[float]:
    """Cores that other processes used while this one slept; empty if the kernel does not tell."""
    before, start = read_busy_s(root / "proc/stat"), time.monotonic()
    time.sleep(duration_s)
    after, end = read_busy_s(root / "proc/stat"), time.monotonic()
    if before is None or after is None:
        return []
    return [max(0.0, (after - before) / (end - start))]


def _read(path: Path) -> str:
    """The content of a file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def neighbours(m: Measured) -> Answer:
    """Do other processes compute? The quietest window counts, so that a passing one does not."""
    if not m.activity.others_cores:
        return unknown("/proc/stat cannot be read")
    others, cores, load = min(m.activity.others_cores), m.machine.usable_cores, m.activity.load
    factor = max(1.0, (others + min(OWN_THREADS, cores)) / cores)
    return Answer(
        f"other processes use {others:.2f} of {cores} cores; load {load:.1f}",
        {"others_cores": others, "cores": cores, "load": load},
        attention=others > OTHERS_CORES,
        consequence=f"a step takes up to {factor:.2f} times as long, and runs differ",
        remedy="end the other processes (top shows them), or keep cores apart with taskset",
        step_time_factor=factor,
    )


def steal(m: Measured) -> Answer:
    """Does the hypervisor take processor time?"""
    duration_s = m.activity.duration_s * m.machine.usable_cores
    if m.activity.steal_s is None or not duration_s:
        return unknown("/proc/stat shows no steal time")
    share = m.activity.steal_s / duration_s
    factor = 1 / (1 - min(share, 0.99))
    return Answer(
        f"the hypervisor took {share * 100:.1f} % of the processor time",
        {"steal_share": share},
        attention=share > STEAL_SHARE,
        consequence=f"steps take {factor:.2f} times as long, and runs differ from each other",
        remedy="measure at another hour, or on a machine that is not shared",
        step_time_factor=factor,
    )


def frequency(m: Measured) -> Answer:
    """Do the governor, the clock under load or the temperature slow the processor?"""
    read = m.machine.frequency
    if not read.governors and read.temperature_c is None:
        return unknown(
            "the kernel shows neither governor nor temperature, as usual in a virtual machine"
        )
    slower = None  # than at the highest clock
    evidence = [f"governor {', '.join(read.governors)}"] if read.governors else []
    if read.busy_hz and read.highest_hz:
        slower = read.highest_hz / read.busy_hz
        evidence.append(f"{read.busy_hz / 1e9:.2f} of {read.highest_hz / 1e9:.2f} GHz under load")
    if read.temperature_c is not None:
        evidence.append(f"{read.temperature_c:.0f} degrees C")
    is_held = bool(SLOW_GOVERNORS & set(read.governors) and not DYNAMIC_DRIVERS & set(read.drivers))
    is_hot = read.temperature_c is not None and read.temperature_c >= HOT_C
    cost = f"a step takes up to {slower:.2f} times as long" if slower else "not measurable here"
    fast = "cpupower frequency-set -g performance"
    return Answer(
        "; ".join(evidence),
        read.model_dump(include={"busy_hz", "highest_hz", "temperature_c"}),
        attention=is_held or is_hot or (slower or 1.0) > 1 / FREQUENCY_SHARE,
        consequence=cost,
        remedy="let the processor cool, clean its fans" if is_hot and not is_held else fast,
        step_time_factor=slower,
    )


def cores(m: Measured) -> Answer:
    """Have the scheduler's thread and the computing one a core each?"""
    usable, physical = m.machine.usable_cores, m.machine.physical_cores
    sharing = f"hyper-threads of {physical} core{'' if physical == 1 else 's'}"
    if physical is None:
        sharing = "the kernel does not show whether they share cores"
    if physical == usable:
        sharing = "none shares a core"
    evidence = f"{usable} of {m.machine.online_cores} processors usable, {sharing}"
    apart = min(usable, physical or usable)
    if apart > 1:  # no setting changes it, so it is no finding
        command = f"bench compare --ranks {apart} --contender ddp"
        evidence += f"; a process multiplies matrices on one; {command} measures {apart} processes"
    return Answer(
        evidence,
        m.machine.model_dump(include={"usable_cores", "online_cores", "physical_cores"}),
        attention=usable < OWN_THREADS or physical == 1,
        consequence="OneFlow's scheduler thread takes time from the thread that computes",
        remedy="taskset -c 0-1, a machine with two cores, or ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD=0",
    )


def cgroup(m: Measured) -> Answer:
    """Do the control groups limit processors or memory?"""
    limits, throttled_s, usable = m.machine.cgroup, m.activity.throttled_s, m.machine.usable_cores
    shown, findings, factor = [], {}, None  # a consequence by its remedy
    if limits.cores is not None:
        shown.append(f"{limits.cores:.2f} cores of processor time")
        if limits.cores < usable:
            factor = max(1.0, min(OWN_THREADS, usable) / limits.cores)
            findings["raise the container's processor limit (docker --cpus)"] = (
                "the limit stops OneFlow while it computes, and a step takes up to "
                f"{factor:.2f} times as long"
            )
    if throttled_s:
        shown.append(f"stopped for {throttled_s:.2f} s just now")
    if limits.memory_bytes is not None:
        left_bytes = limits.memory_bytes - (limits.memory_used_bytes or 0)
        limit_gib = limits.memory_bytes / 2**30
        shown.append(f"{left_bytes / 2**30:.1f} of {limit_gib:.1f} GiB memory left")
        worker_bytes = m.oneflow.memory.peak_rss_bytes if m.oneflow.memory else None
        if worker_bytes is not None and left_bytes < HEADROOM_WORKERS * worker_bytes:
            findings["raise the container's memory limit (docker --memory)"] = (
                "the kernel may end one of two modes side by side for want of memory"
            )
    return Answer(
        "limits: " + ", ".join(shown) if shown else "no limits",
        {
            "limit_cores": limits.cores,
            "throttled_s": throttled_s,
            "limit_bytes": limits.memory_bytes,
            "used_bytes": limits.memory_used_bytes,
        },
        attention=bool(findings),
        consequence="; ".join(findings.values()),
        remedy="; ".join(findings),
        step_time_factor=factor,
    )


def swap(m: Measured) -> Answer:
    """Did pages go to or come from the swap while the doctor worked?"""
    moved, total = m.activity.swapped_pages, m.machine.swap_total_bytes
    if moved is None or total is None:
        return unknown("/proc/vmstat and /proc/meminfo do not show it")
    used = m.machine.swap_used_bytes or 0
    shown = f"{used / 2**30:.1f} of {total / 2**30:.1f} GiB used"
    return Answer(
        f"{moved} pages moved while measuring, {shown}" if total else "there is none",
        {"swapped_pages": moved, "swap_used_bytes": used, "swap_total_bytes": total},
        attention=moved > SWAPPED_PAGES_PER_S * m.activity.duration_s,
        consequence="steps wait for the disk",
        remedy="end the processes that hold the memory, use a smaller --batch-size, or swapoff -a",
    )


MACHINE_CHECKS = (neighbours, steal, frequency, cores, cgroup, swap)
