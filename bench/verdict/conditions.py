"""Disturbances of the machine during a measurement, and their remedies.

`read_conditions` is called before, during and after; `find_warnings` reads the record. A warning
is a sentence with the cause and its number, and one with the remedy. It changes no verdict, because
the interval already includes the disturbance.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ..record.events import ConditionsEvent, SpeedBlockEvent
from ..record.machine import read_steal_seconds

STEAL_SHARE = 0.01  # of the seconds of all cores
FREQUENCY_CHANGE = 0.05
HOT_C = 90.0
MAJOR_FAULTS_PER_S = 1.0
OTHERS_CORES = 0.1  # used by other processes while the clock ran
FIXED_WORK_BYTES, FIXED_WORK_REPEATS = 2**20, 8
THERMAL = Path("/sys/class/thermal")
CPUFREQ = Path("/sys/devices/system/cpu")


def read_conditions() -> Dict[str, Any]:
    """Of the machine, None for what cannot be read; and the processor time of the controller."""
    return {
        "load": os.getloadavg()[0],
        "steal_s": read_steal_seconds(),
        "cores": len(os.sched_getaffinity(0)),
        "frequency_hz": read_frequency_hz(),
        "temperature_c": read_temperature_c(),
        "controller_cpu_s": time.process_time(),
        "fixed_work_s": time_fixed_work(),
    }


def time_fixed_work() -> float:
    """The shortest time of a hash over FIXED_WORK_BYTES, in seconds: the machine's own speed."""
    data, times = bytes(FIXED_WORK_BYTES), []
    for _ in range(FIXED_WORK_REPEATS):
        start = time.perf_counter()
        hashlib.sha256(data)
        times.append(time.perf_counter() - start)
    return min(times)


def read_frequency_hz(folder: Path = CPUFREQ) -> Optional[float]:
    """Mean current frequency of the cores; None where the kernel does not say."""
    return _mean(folder.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"), 1e3)


def read_temperature_c(folder: Path = THERMAL) -> Optional[float]:
    """Mean of the thermal zones, degrees Celsius; None where there are none."""
    return _mean(folder.glob("thermal_zone*/temp"), 1e-3)


def _mean(paths: Any, scale: float) -> Optional[float]:
    values = []
    for path in paths:
        try:
            values.append(int(path.read_text(encoding="ascii")) * scale)
        except (OSError, ValueError):
            continue
    return sum(values) / len(values) if values else None


def find_warnings(
    conditions: Sequence[ConditionsEvent], scored: Sequence[SpeedBlockEvent]
) -> List[str]:
    """Each with cause and remedy; none for an idle machine."""
    warnings = [
        _check_load(conditions),
        _check_steal(conditions),
        _check_frequency(conditions),
        _check_temperature(conditions),
        _check_faults(scored),
        _check_others(scored),
    ]
    return [warning for warning in warnings if warning]


def measure_controller_share(events: Sequence[ConditionsEvent]) -> Optional[float]:
    """The controller's processor time over the time of the phase."""
    return _measure_rate(events, "controller_cpu_s")


def _measure_rate(events: Sequence[ConditionsEvent], key: str) -> Optional[float]:
    """By how much a counter grows in a second; None where it was read less than twice.

    A phase that was continued has several parts, and what passed between them is left out.
    """
    grown = duration_s = 0.0
    for part in split_parts(events):
        values = _read(part, key)
        if len(values) > 1:
            grown += values[-1] - values[0]
            duration_s += part[-1].started_s - part[0].started_s
    return grown / duration_s if duration_s > 0 else None


def split_parts(events: Sequence[ConditionsEvent]) -> List[List[ConditionsEvent]]:
    """The events of each part of a phase; a part begins with the event `before` it."""
    parts: List[List[ConditionsEvent]] = []
    for event in events:
        if event.when == "before" or not parts:
            parts.append([])
        parts[-1].append(event)
    return parts


def _read(events: Sequence[ConditionsEvent], key: str) -> List[float]:
    return [e.conditions[key] for e in events if e.conditions.get(key) is not None]


def _check_load(events: Sequence[ConditionsEvent]) -> Optional[str]:
    before = [e for e in events if e.when == "before"]
    load, cores = _read(before, "load"), _read(before, "cores")
    if not load or not cores or max(load) <= cores[0] + 1:  # + 1: the training before it
        return None
    return (
        f"the machine was busy beforehand (load {max(load):.1f} on {cores[0]:.0f} cores). "
        "End other work, or give a longer `--budget`"
    )


def _check_steal(events: Sequence[ConditionsEvent]) -> Optional[str]:
    rate, cores = _measure_rate(events, "steal_s"), _read(events, "cores")
    share = rate / cores[0] if rate and cores else 0.0
    if share <= STEAL_SHARE:
        return None
    return (
        f"the hypervisor took {share * 100:.1f} % of the processor time for other guests. "
        "Measure at another hour, or on a machine that is not shared"
    )


def _check_frequency(events: Sequence[ConditionsEvent]) -> Optional[str]:
    values = _read(events, "frequency_hz")
    if len(values) < 2 or max(values) <= min(values) * (1 + FREQUENCY_CHANGE):
        return None
    return (
        f"the processor's frequency went from {min(values) / 1e9:.2f} to "
        f"{max(values) / 1e9:.2f} GHz. Fix it with the performance governor, or turn the boost off"
    )


def _check_temperature(events: Sequence[ConditionsEvent]) -> Optional[str]:
    values = _read(events, "temperature_c")
    if not values or max(values) < HOT_C:
        return None
    return f"the processor reached {max(values):.0f} degrees Celsius and may throttle. Let it cool"


def _check_faults(scored: Sequence[SpeedBlockEvent]) -> Optional[str]:
    seconds = sum(block.duration_s for block in scored)
    rate = sum(block.major_faults or 0.0 for block in scored) / seconds if seconds else 0.0
    if rate <= MAJOR_FAULTS_PER_S:
        return None
    return (
        f"pages were read from disk while the clock ran ({rate:.0f} major faults a second). "
        "Memory is short: use a smaller `--batch-size`, or fewer `--replicates`"
    )


def _check_others(scored: Sequence[SpeedBlockEvent]) -> Optional[str]:
    read = [block for block in scored if block.machine_busy_s is not None]
    seconds = sum(block.duration_s for block in read)
    others_s = sum((block.machine_busy_s or 0.0) - block.cpu_s for block in read)
    if not seconds or others_s <= OTHERS_CORES * seconds:
        return None
    return (
        f"other processes used {others_s / seconds:.1f} cores while the clock ran. "
        "End them, or give a longer `--budget`"
    )
