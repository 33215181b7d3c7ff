"""Reads the machine from a folder that stands for /, so that a test can make up any machine.

A value that the kernel does not show is None or is left out.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

from ...record.machine import (
    read_available_bytes,
    read_count,
    read_cpu,
    read_kib_bytes,
    read_steal_seconds,
)
from ...training.counters import read_busy_s, subtract_counters
from ...verdict.conditions import read_temperature_c
from .diagnosis import Activity, CgroupLimits, Frequency, Machine

ROOT = Path("/")
CPUS = "sys/devices/system/cpu"
CGROUPS = "sys/fs/cgroup"
NO_LIMIT_BYTES = 1 << 60  # control groups of version 1 write a huge number for "no limit"


def read_machine(root: Path = ROOT) -> Machine:
    """The fixed properties of the machine, and its frequency now."""
    cpu = read_cpu(root / "proc/cpuinfo")
    usable = os.sched_getaffinity(0)
    meminfo = root / "proc/meminfo"
    swap_total, swap_free = (read_kib_bytes(meminfo, name) for name in ("SwapTotal:", "SwapFree:"))
    return Machine(
        cpu_model=cpu["model"],
        cpu_flags=cpu["flags"],
        online_cores=os.cpu_count() or len(usable),
        usable_cores=len(usable),
        physical_cores=count_physical_cores(usable, root),
        cgroup=read_cgroup(root),
        frequency=read_frequency(root),
        available_bytes=read_available_bytes(meminfo),
        huge_pages=read_huge_pages(root),
        swap_total_bytes=swap_total,
        swap_used_bytes=None if swap_total is None else swap_total - (swap_free or 0),
        nvidia_driver=read_nvidia_driver(root),
    )


def count_physical_cores(usable: Set[int], root: Path = ROOT) -> Optional[int]:
    """The number of cores that have these processors as their threads."""
    siblings = {
        _read(root / CPUS / f"cpu{number}" / "topology/thread_siblings_list") for number in usable
    }
    return None if None in siblings or not siblings else len(siblings)


def read_cgroup(root: Path = ROOT) -> CgroupLimits:
    """The tightest processor and memory limits, of control groups of either version."""
    cores: List[float] = []
    memory: List[Tuple[int, Optional[int]]] = []
    for folder in list_cgroup_folders(root):
        quota = (_read(folder / "cpu.max") or "").split()
        if not quota:
            quota = [_read(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
        limit, used = _read_limit(folder)
        if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
            cores.append(int(quota[0]) / int(quota[1]))
        if limit is not None:
            memory.append((limit, used))
    limit, used = min(memory, key=lambda found: found[0], default=(None, None))
    return CgroupLimits(cores=min(cores, default=None), memory_bytes=limit, memory_used_bytes=used)


def _read_limit(folder: Path) -> Tuple[Optional[int], Optional[int]]:
    """Limit and use of a group's memory in bytes."""
    for limit_name, used_name in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        limit, used = _read(folder / limit_name), _read(folder / used_name)
        if limit and limit.isdigit() and int(limit) < NO_LIMIT_BYTES:
            return int(limit), int(used) if used and used.isdigit() else None
    return None, None


def list_cgroup_folders(root: Path = ROOT) -> List[Path]:
    """The folders of this process's groups and of the groups above them, of every controller."""
    folders = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        tops = [controllers, *controllers.split(",")] if controllers else ["", "unified"]
        for top in dict.fromkeys(tops):
            base = root / CGROUPS / top
            group = base / path.lstrip("/")
            folders += [base, group, *(up for up in group.parents if base in up.parents)]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def read_throttled_s(root: Path = ROOT) -> Optional[float]:
    """Seconds for which a processor limit has stopped this process's groups."""
    found = []
    for folder in list_cgroup_folders(root):
        microseconds = read_count(folder / "cpu.stat", "throttled_usec")
        nanoseconds = read_count(folder / "cpu.stat", "throttled_time")
        if microseconds is not None:
            found.append(microseconds * 1e-6)
        elif nanoseconds is not None:
            found.append(nanoseconds * 1e-9)
    return max(found) if found else None


def read_frequency(root: Path = ROOT) -> Frequency:
    """Governors, drivers and frequencies of the cores, and the temperature."""
    folders = sorted((root / CPUS).glob("cpu[0-9]*/cpufreq"))
    return Frequency(
        governors=_read_all(folders, "scaling_governor"),
        drivers=_read_all(folders, "scaling_driver"),
        busy_hz=_read_highest_hz(folders, "scaling_cur_freq"),
        highest_hz=_read_highest_hz(folders, "cpuinfo_max_freq"),
        temperature_c=read_temperature_c(root / "sys/class/thermal"),
    )


def _read_all(folders: List[Path], name: str) -> List[str]:
    """The different contents of a file in each folder."""
    return sorted({text for folder in folders for text in [_read(folder / name)] if text})


def _read_highest_hz(folders: List[Path], name: str) -> Optional[float]:
    values = [int(text) for text in _read_all(folders, name) if text.isdigit()]
    return max(values) * 1e3 if values else None


def read_huge_pages(root: Path = ROOT) -> Optional[str]:
    """The mode of transparent huge pages, which the kernel puts in brackets."""
    text = _read(root / "sys/kernel/mm/transparent_hugepage/enabled") or ""
    chosen = re.search(r"\[(\w+)\]", text)
    return chosen.group(1) if chosen else None


def read_nvidia_driver(root: Path = ROOT) -> Optional[str]:
    """Version of the NVIDIA kernel driver; None if none is loaded."""
    found = re.search(r"(\d+\.\d+[\d.]*)", _read(root / "proc/driver/nvidia/version") or "")
    return found.group(1) if found else None


def read_moment(root: Path = ROOT) -> Dict[str, Optional[float]]:
    """Counts that only grow, by the fields of `Activity` that their differences are."""
    swapped = [read_count(root / "proc/vmstat", name) for name in ("pswpin", "pswpout")]
    return {
        "duration_s": time.monotonic(),
        "steal_s": read_steal_seconds(root / "proc/stat"),
        "swapped_pages": None if None in swapped else sum(count or 0 for count in swapped),
        "throttled_s": read_throttled_s(root),
    }


def watch_others(duration_s: float, root: Path = ROOT) -> Optional[float]:
    """Cores that other processes used while this one slept; None if the kernel does not tell."""
    before, start = read_busy_s(root / "proc/stat"), time.monotonic()
    time.sleep(duration_s)
    after, end = read_busy_s(root / "proc/stat"), time.monotonic()
    return None if before is None or after is None else max(0.0, (after - before) / (end - start))


def measure_activity(
    before: Dict[str, Optional[float]], after: Dict[str, Optional[float]], others_cores: List[float]
) -> Activity:
    """The machine's activity between two moments."""
    changes: Dict[str, Any] = subtract_counters(after, before)
    return Activity(**changes, others_cores=others_cores, load=os.getloadavg()[0])


def _read(path: Path) -> Optional[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
