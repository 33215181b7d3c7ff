"""Processes that read runs and draw pictures."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor


def count_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def create_pool() -> ProcessPoolExecutor:
    """A process for each core, which end with this one. Forked, since the controller has no threads
    and has imported what they need.
    """
    from ....data.processes import end_with_parent  # all of `data` takes long to import

    fork = multiprocessing.get_context("fork")
    return ProcessPoolExecutor(count_cores(), fork, end_with_parent, (os.getpid(),))
