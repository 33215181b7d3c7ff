"""How far a rank is, in a small file that it shares with the controller while it works.

OneFlow runs asynchronously: the Python of a rank is ahead of what it computes, so that a rank that
waits for another still gets to the end of its block of steps in Python, and one whose Python
hangs does not. What is counted are the requests and steps *begun*; all ranks of a group count the
same things in the same order, so that their counts can be compared.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Mapping, NamedTuple, Optional

VARIABLE = "BENCH_RANK_PROGRESS"  # the file's path, in a rank's environment

IDLE, REACHING, WORKING, STEPPING = range(4)  # waits for a request; for rank 0; in it; in its steps

_LAYOUT = struct.Struct("=qq")


class Progress(NamedTuple):
    """Where a rank is."""

    phase: int
    begun: int  # how many requests and steps so far


_shared: Optional[mmap.mmap] = None  # of this process; None: nobody watches it
_here = Progress(IDLE, 0)


def open_progress(environment: Mapping[str, str]) -> None:
    """Share this process's progress, if it is a rank of a group."""
    global _shared
    path = environment.get(VARIABLE)
    if path is not None:
        with open(path, "r+b") as file:
            _shared = mmap.mmap(file.fileno(), _LAYOUT.size)


def mark(phase: int) -> None:
    """Something has begun; free of charge in a process that nobody watches."""
    if _shared is not None:
        _move(Progress(phase, _here.begun + 1))


def mark_idle() -> None:
    """A request has been answered. Counted as nothing: rank 0 may have more to do, as in `save`."""
    if _shared is not None:
        _move(Progress(IDLE, _here.begun))


def _move(to: Progress) -> None:
    global _here
    _here = to
    assert _shared is not None
    _LAYOUT.pack_into(_shared, 0, *to)


def create_progress_file(path: Path) -> None:
    """The file of a rank that has begun nothing yet."""
    path.write_bytes(_LAYOUT.pack(IDLE, 0))


def read_progress(path: Path) -> Progress:
    """What the rank wrote last. Raises OSError where the file is gone."""
    return Progress(*_LAYOUT.unpack(path.read_bytes()[: _LAYOUT.size]))
