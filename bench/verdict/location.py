"""Which of its blocks a process is known by: one number out of many block times.

Other work on the machine only ever takes time, so the quickest blocks of a process tell most about
its program; and as all processes took turns through the same seconds, they all find their quickest
blocks in the machine's best ones (docs/adr/0012-quickest-quarter-of-the-blocks.md). A program whose
own steps vary is the exception: a few of its steps are quicker than the rest by luck, and they say
little about it. Its typical block does (docs/adr/0013-two-locations.md).
"""

from __future__ import annotations

from typing import Callable, Dict

import numpy as np

QUICKEST_SHARE = 1 / 4  # of a process's blocks, the quickest of them; one block at least
QUICKEST_QUARTER, MEDIAN = "quickest quarter", "median"

Locate = Callable[[np.ndarray], np.ndarray]  # (processes, rounds) -> (processes,)


def quickest_quarter(values: np.ndarray) -> np.ndarray:
    """The mean of the lowest quarter along the last axis."""
    count = max(1, round(QUICKEST_SHARE * values.shape[-1]))
    lowest = np.partition(values, count - 1, axis=-1)[..., :count]
    return np.asarray(lowest.mean(axis=-1))


def median(values: np.ndarray) -> np.ndarray:
    """The median along the last axis: the typical block."""
    return np.asarray(np.median(values, axis=-1))


def mean(values: np.ndarray) -> np.ndarray:
    """The mean along the last axis: with all that the machine, or the program, did now and then."""
    return np.asarray(values.mean(axis=-1))


LOCATIONS: Dict[str, Locate] = {QUICKEST_QUARTER: quickest_quarter, MEDIAN: median}
