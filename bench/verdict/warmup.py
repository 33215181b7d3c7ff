"""How long a worker takes to settle, told from its block times by their change points.

A fixed number of warm-up steps is wrong for most programs (Barrett et al., "Virtual Machine Warmup
Blows Hot and Cold", OOPSLA 2017). As there, the series is cut into segments of constant level by
penalised least squares, and the steady state is the last segment with those before it whose level
is the same for practical purposes.
"""

from __future__ import annotations

import math
from typing import List, Sequence

import numpy as np

from .change_points import partition

SAME_LEVEL = 0.02  # relative difference of two segments that does not count as one
NOISE_FLOOR = 0.002  # relative; below it the clock itself and rounding are seen
SPIKE = 5.0  # times the noise
PENALTY = 6.0  # times noise variance times log(n), for each further segment
SETTLED_SHARE = 1 / 2  # of the series that the steady state must last to be believed


def find_change_points(times: Sequence[float]) -> List[int]:
    """First index of each segment of constant level, beginning with 0.

    Optimal partitioning (Jackson et al., 2005) of the log times. A first segment may be one block,
    as the first step is; another has two at least, as one disturbed block is no level.
    """
    logs = np.log(np.asarray(times, dtype=float))
    count, noise = len(logs), _estimate_noise(logs)
    logs = _without_spikes(logs, SPIKE * noise)
    penalty = PENALTY * noise**2 * math.log(max(count, 2))
    return partition(_measure_costs(logs), penalty, shortest=2, shortest_first=1)


def _measure_costs(x: np.ndarray) -> np.ndarray:
    """Squared distances from the mean of the segment from i to before j, at [i, j]."""
    sums = np.concatenate([[0.0], np.cumsum(x)])
    squares = np.concatenate([[0.0], np.cumsum(x**2)])
    lengths = np.arange(len(x) + 1)[None] - np.arange(len(x))[:, None]
    totals = sums[None] - sums[:-1, None]
    costs: np.ndarray = squares[None] - squares[:-1, None] - totals**2 / np.maximum(lengths, 1)
    return costs


def find_warmup(times: Sequence[float]) -> int:
    """How many leading block times are warm-up. 0 for fewer than three."""
    if len(times) < 3:
        return 0
    points = [*find_change_points(times), len(times)]
    logs = np.log(np.asarray(times, dtype=float))
    same = max(SAME_LEVEL, _estimate_noise(logs))
    levels = [float(np.median(logs[a:b])) for a, b in zip(points, points[1:])]
    first = len(levels) - 1
    while first > 0 and abs(levels[first - 1] - levels[-1]) <= same:
        first -= 1
    return points[first]


def is_settled(times: Sequence[float]) -> bool:
    """Whether the steady state has lasted long enough to be believed."""
    return len(times) - find_warmup(times) >= max(2.0, SETTLED_SHARE * len(times))


def _estimate_noise(logs: np.ndarray) -> float:
    """Standard deviation of the noise, by second differences: no levels and no trends."""
    if len(logs) < 3:
        return NOISE_FLOOR
    bends = np.abs(logs[2:] - 2 * logs[1:-1] + logs[:-2])
    return max(NOISE_FLOOR, float(np.median(bends)) * 1.4826 / math.sqrt(6))


def _without_spikes(logs: np.ndarray, limit: float) -> np.ndarray:
    """Single blocks that stand out from both neighbours get the level of the block before them."""
    result = logs.copy()
    for i in range(1, len(logs)):
        after = logs[i + 1] if i + 1 < len(logs) else result[i - 1]
        if abs(logs[i] - result[i - 1]) > limit and abs(logs[i] - after) > limit:
            result[i] = result[i - 1] if abs(after - result[i - 1]) <= limit else after
    return result
