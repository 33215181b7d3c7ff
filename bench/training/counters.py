"""What a process used besides time: faults, context switches, instructions, energy; and others.

Each is None where this machine does not let it be read; `describe` says why.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from pathlib import Path
from typing import Any, Dict, Optional

_SYSCALLS = {"x86_64": 298, "aarch64": 241}  # of perf_event_open
_HARDWARE, _INSTRUCTIONS = 0, 1
_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
_ATTRIBUTE_BYTES = 112  # PERF_ATTR_SIZE_VER5
RAPL = Path("/sys/class/powercap/intel-rapl:0")


class InstructionCounter:
    """Instructions of this process outside the kernel, its threads included.

    Threads are counted that start after this was made; so make it before OneFlow is imported.
    """

    def __init__(self) -> None:
        self.reason: Optional[str] = None
        self._descriptor = self._open()

    def _open(self) -> int:
        number = _SYSCALLS.get(platform.machine())
        if number is None:
            self.reason = f"no counter is known for {platform.machine()}"
            return -1
        flags = _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
        head = struct.pack("=IIQQQQQ", _HARDWARE, _ATTRIBUTE_BYTES, _INSTRUCTIONS, 0, 0, 0, flags)
        attribute = ctypes.create_string_buffer(head, _ATTRIBUTE_BYTES)
        library = ctypes.CDLL(None, use_errno=True)
        descriptor = int(library.syscall(number, attribute, 0, -1, -1, 0))
        if descriptor < 0:
            self.reason = (
                f"perf_event_open: {os.strerror(ctypes.get_errno())}; a virtual machine often has "
                "no counters, and /proc/sys/kernel/perf_event_paranoid above 2 forbids them"
            )
        return descriptor

    def read(self) -> Optional[int]:
        if self._descriptor < 0:
            return None
        try:
            return int(struct.unpack("=Q", os.read(self._descriptor, 8))[0])
        except OSError as error:
            self.reason = f"the counter cannot be read ({error.strerror})"
            return None


def read_energy_j(folder: Path = RAPL) -> Optional[float]:
    """Energy that the processor package has used, joules from an arbitrary start; wraps around."""
    try:
        return int((folder / "energy_uj").read_text(encoding="ascii")) * 1e-6
    except (OSError, ValueError):
        return None


def read_busy_s(stat: Path = Path("/proc/stat")) -> Optional[float]:
    """Seconds that the cores this process may use have worked since boot, for anybody."""
    mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    try:
        rows = [line.split() for line in stat.read_text(encoding="ascii").splitlines()]
        # user, nice, system, irq, softirq; idle and waiting are not work, nor is stolen time
        ticks = [sum(int(row[i]) for i in (1, 2, 3, 6, 7)) for row in rows if row[0] in mine]
    except (OSError, IndexError, ValueError):
        return None
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


class Counters:
    def __init__(self) -> None:
        self._instructions = InstructionCounter()

    def read(self) -> Dict[str, Optional[float]]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "minor_faults": usage.ru_minflt,
            "major_faults": usage.ru_majflt,
            "voluntary_switches": usage.ru_nvcsw,
            "involuntary_switches": usage.ru_nivcsw,
            "instructions": self._instructions.read(),
            "energy_j": read_energy_j(),
            "machine_busy_s": read_busy_s(),
        }

    def describe(self) -> Dict[str, Any]:
        """Why a counter is not there; None where it is."""
        energy = None if read_energy_j() is not None else f"{RAPL}/energy_uj cannot be read"
        return {"instructions": self._instructions.reason, "energy_j": energy}


def subtract_counters(
    after: Dict[str, Optional[float]], before: Dict[str, Optional[float]]
) -> Dict[str, Optional[float]]:
    """What was used in between; None where a counter is missing, or wrapped around."""
    used: Dict[str, Optional[float]] = {}
    for name, end in after.items():
        start = before[name]
        used[name] = None if end is None or start is None or end < start else end - start
    return used
