"""Where a short, noisy series of values changed its level. Pure functions on lists of numbers.

Optimal partitioning (Jackson et al., An algorithm for optimal partitioning of data on an
interval, 2005): the segmentation with the least cost over all segmentations, a segment's cost being
the sum of the distances of its values from their median, each change costing a penalty. Against
single runs on a disturbed machine the distances are cut off (the bounded loss of Fearnhead and
Rigaill, Changepoint detection in the presence of outliers, 2019). The unit of distance is the
noise, estimated from differences of values some runs apart, so that a change of level does not pass
for noise.

The constants were chosen by `benchmarks/change_points.py`, which prints the rates of false alarms
and of changes found; results/simulations has them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Optional, Sequence

import numpy as np

MIN_SEGMENT = 3  # values on either side of a change
LARGEST_DISTANCE = 5.0  # in units of noise, of one value from its segment's median
PENALTY = 2.25  # times log(n); more in short series, where the noise is known less well
SHORT_SERIES = 4.0  # the penalty is (1 + SHORT_SERIES / n) times that
LARGEST_LAG = 5
VALUES_PER_LAG = 8  # a lag is used from so many times its length on; changes spoil few pairs then
NOISE_FLOOR = 0.25  # of the smallest step that counts; below it all values are alike
_MAD_TO_SIGMA = 0.6745  # median of |x| of a standard normal variable


@dataclass(frozen=True)
class LevelChange:
    """`index` is the first value of the new level; levels are medians, in the values' own unit."""

    index: int
    before: float
    after: float


def find_changes(values: Sequence[float], min_step: float, relative: bool) -> List[LevelChange]:
    """Changes of level, in order; none below twice MIN_SEGMENT values.

    `min_step` is the smallest change that counts, as a share of the level with `relative`, in the
    values' unit without. Raises ValueError for a value that is not finite, and with `relative` for
    one that is not positive.
    """
    if not all(math.isfinite(v) and (v > 0 or not relative) for v in values):
        raise ValueError(
            f"the values {list(values)} hold one that is not finite or, on a relative scale, not "
            "above 0; leave it out"
        )
    scaled = np.log(values) if relative else np.asarray(values, dtype=float)
    step = math.log1p(min_step) if relative else min_step
    if len(values) < 2 * MIN_SEGMENT or np.ptp(scaled) < step:
        return []  # no two levels differ by a step that counts
    noise = max(_estimate_noise(scaled), NOISE_FLOOR * step)
    count = len(scaled)
    penalty = PENALTY * math.log(count) * (1 + SHORT_SERIES / count)
    starts = _merge_small(
        scaled, partition(_measure_costs(scaled, noise), penalty, MIN_SEGMENT), step
    )
    ends = [*starts[1:], count]
    levels = [float(np.median(values[a:b])) for a, b in zip(starts, ends)]
    return [
        LevelChange(start, before, after)
        for start, before, after in zip(starts[1:], levels, levels[1:])
    ]


def _estimate_noise(x: np.ndarray) -> float:
    """Standard deviation of one value, from the median absolute difference at each lag.

    The largest over the lags: neighbouring runs share the state of the machine, and their
    differences alone would show too little noise.
    """
    lags = [lag for lag in range(1, LARGEST_LAG + 1) if lag == 1 or len(x) >= VALUES_PER_LAG * lag]
    medians = [float(np.median(np.abs(x[lag:] - x[:-lag]))) for lag in lags]
    return max(medians) / _MAD_TO_SIGMA / math.sqrt(2)


def _measure_costs(x: np.ndarray, noise: float) -> np.ndarray:
    """Cost of the segment from i to before j, at [i, j]; all segments at once.

    A segment's order statistics and sums are differences of counts and sums up to j and up to i,
    for each rank.
    """
    count = len(x)
    levels, ranks = np.unique(x - np.median(x), return_inverse=True)
    at = np.zeros((count + 1, len(levels) + 1), dtype=np.int32)
    at[np.arange(1, count + 1), ranks + 1] = 1
    counts = at.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    sums = (at * np.append(0.0, levels)).cumsum(axis=0).cumsum(axis=1)
    starts, ends = np.triu_indices(count + 1, 1)
    first, last = (places * at.shape[1] for places in (starts, ends))  # of rows in a flat table

    def take(table: np.ndarray, rank: np.ndarray) -> np.ndarray:
        """Over the values of each segment that are below the level of that rank."""
        flat = table.ravel()  # a third quicker than two indices
        return np.asarray(flat.take(last + rank) - flat.take(first + rank))

    def select(place: np.ndarray) -> np.ndarray:
        """Each segment's value at that place, from 0, in the order of size."""
        low, high = np.zeros(len(starts), dtype=np.int32), np.full(len(starts), len(levels) - 1)
        for _ in range(len(levels).bit_length()):
            middle = (low + high) // 2
            above = take(counts, middle + 1) <= place
            low, high = np.where(above, middle + 1, low), np.where(above, high, middle)
        return np.asarray(levels[np.minimum(low, len(levels) - 1)])

    sizes = ends - starts
    medians = (select((sizes - 1) // 2) + select(sizes // 2)) / 2
    far = LARGEST_DISTANCE * noise
    edges = [np.searchsorted(levels, medians + shift) for shift in (-far, 0.0, far)]
    (n0, s0), (n1, s1), (n2, s2) = ((take(counts, edge), take(sums, edge)) for edge in edges)
    within = medians * (2 * n1 - n0 - n2) - (2 * s1 - s0 - s2)
    costs = np.full((count, count + 1), np.inf)
    costs[starts, ends] = within / noise + LARGEST_DISTANCE * (n0 + sizes - n2)
    return costs


def partition(
    costs: np.ndarray, penalty: float, shortest: int, shortest_first: Optional[int] = None
) -> List[int]:
    """Starts of the segments of the cheapest segmentation, 0 first.

    `costs[i, j]` is the cost of the segment from i to before j. Each segment after the first costs
    `penalty`. A segment has at least `shortest` values, the first one `shortest_first`.
    """
    first = shortest if shortest_first is None else shortest_first
    count = len(costs)
    best = np.array([0.0] + [math.inf] * count)
    came_from = [0] * (count + 1)
    for end in range(first, count + 1):
        best[end] = costs[0, end]
        starts = slice(first, max(first, end - shortest + 1))  # of a last segment after others
        cost = best[starts] + costs[starts, end] + penalty
        if len(cost) and cost.min() < best[end]:
            best[end], came_from[end] = cost.min(), first + int(cost.argmin())
    found: List[int] = []
    end = count
    while end > 0:
        end = came_from[end]
        found.append(end)
    return found[::-1]


def _merge_small(x: np.ndarray, starts: List[int], step: float) -> List[int]:
    """Join neighbours whose levels differ by less than `step`, the most alike first."""
    starts = list(starts)
    while len(starts) > 1:
        levels = [np.median(x[a:b]) for a, b in zip(starts, [*starts[1:], len(x)])]
        steps = [abs(b - a) for a, b in zip(levels, levels[1:])]
        smallest = min(range(len(steps)), key=steps.__getitem__)
        if steps[smallest] >= step:
            break
        del starts[smallest + 1]
    return starts
