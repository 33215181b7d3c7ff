"""What the controller sees of a rank from outside, without disturbing it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

from .progress import Progress, read_progress

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
REST_CPU_S = 0.05  # of a process at rest: OneFlow's own heartbeat uses some
_WANTING = frozenset("RD")  # a thread that runs, or would if a core or a disk let it


@dataclass(frozen=True)
class Observation:
    """A rank at one moment."""

    progress: Progress
    cpu_s: float  # used by the process so far
    main_cpu_s: float  # of it, by the thread that runs Python
    state: str  # of that thread, a letter of proc(5): R, S, D, T, ...
    wanting: bool  # some thread runs, or waits for a core or a disk
    answered: bool  # the request that the group was sent last


def observe(
    pid: int,
    progress_path: Path,
    answered: bool,
    last: Optional[Observation] = None,
    proc: Path = Path("/proc"),
) -> Optional[Observation]:
    """A rank of this machine now; None where it is ending.

    One that was seen to work since `last` is not asked for each of its threads, which would take
    longer than all the rest.
    """
    try:
        process = _read_stat(proc / str(pid) / "stat")
        threads = proc / str(pid) / "task"
        main = _read_stat(threads / str(pid) / "stat")
        cpu_s = _sum_cpu(process)
        works = last is not None and cpu_s - last.cpu_s > REST_CPU_S
        return Observation(
            progress=read_progress(progress_path),
            cpu_s=cpu_s,
            main_cpu_s=_sum_cpu(main),
            state=main[0],
            wanting=works or any(_wants(thread / "stat") for thread in threads.iterdir()),
            answered=answered,
        )
    except (OSError, IndexError, ValueError):
        return None


def _read_stat(path: Path) -> List[str]:
    """The fields behind the process's name, which may hold blanks; the state is the first."""
    return path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _wants(stat: Path) -> bool:
    try:
        return _read_stat(stat)[0] in _WANTING
    except OSError:  # the thread has ended
        return False


def _sum_cpu(fields: List[str]) -> float:
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S  # utime and stime
