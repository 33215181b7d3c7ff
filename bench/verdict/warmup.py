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

SAME_LEVEL = 0.02  # relative difference of two segments that does not count as one
NOISE_FLOOR = 0.002  # relative; below it the clock itself and rounding are seen
PENALTY = 3.0  # times noise variance times log(n), for each further segment
SETTLED_SHARE = 1 / 3  # of the series that the steady state must last to be believed


def find_change_points(times: Sequence[float]) -> List[int]:
    """First index of each segment of constant level, beginning with 0.

    Optimal partitioning (Jackson et al., 2005) of the log times, with the noise estimated from the
    differences of neighbours so that a change of level does not count as noise.
    """
    logs = _without_spikes(np.log(np.asarray(times, dtype=float)))
    count = len(logs)
    steps = np.abs(np.diff(logs))
    noise = max(NOISE_FLOOR, float(np.median(steps)) * 1.4826 / math.sqrt(2)) if count > 1 else 0.0
    penalty = PENALTY * noise**2 * math.log(max(count, 2))
    sums = np.concatenate([[0.0], np.cumsum(logs)])
    squares = np.concatenate([[0.0], np.cumsum(logs**2)])
    best = [-penalty] + [math.inf] * count
    origin = [0] * (count + 1)
    for end in range(1, count + 1):
        for start in range(end):
            total = sums[end] - sums[start]
            cost = squares[end] - squares[start] - total * total / (end - start)
            if best[start] + cost + penalty < best[end]:
                best[end], origin[end] = best[start] + cost + penalty, start
    points, end = [], count
    while end > 0:
        points.append(origin[end])
        end = origin[end]
    return points[::-1]


def find_warmup(times: Sequence[float]) -> int:
    """How many leading block times are warm-up. 0 for fewer than three."""
    if len(times) < 3:
        return 0
    points = [*find_change_points(times), len(times)]
    logs = np.log(np.asarray(times, dtype=float))
    levels = [float(np.median(logs[a:b])) for a, b in zip(points, points[1:])]
    first = len(levels) - 1
    while first > 0 and abs(levels[first - 1] - levels[-1]) <= SAME_LEVEL:
        first -= 1
    return points[first]


def is_settled(times: Sequence[float]) -> bool:
    """Whether the steady state has lasted long enough to be believed."""
    return len(times) - find_warmup(times) >= max(2.0, SETTLED_SHARE * len(times))


def _without_spikes(logs: np.ndarray) -> np.ndarray:
    """A running median of three: one disturbed block is no change of level. The ends stay."""
    if len(logs) < 3:
        return logs
    middle = np.median(np.stack([logs[:-2], logs[1:-1], logs[2:]]), axis=0)
    return np.concatenate([logs[:1], middle, logs[-1:]])
