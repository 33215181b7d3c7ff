"""Chooses the next action of a run, and when a process is warm.

More blocks of the same processes shrink the noise within a process and nothing else. Fresh
processes shrink both and give degrees of freedom, of which an interval has few. So a run goes on
with fresh processes as long as their start leaves time to measure them
(docs/adr/0023-five-processes-alive.md), and each wave is measured as long as the first was.

A fixed number of warm-up steps is wrong for most programs (Barrett et al., "Virtual Machine Warmup
Blows Hot and Cold", OOPSLA 2017). As there, the series of block times is cut into segments of
constant level by penalised least squares. The steady state is the last segment, with those before
it whose level is the same for practical purposes.
"""

from __future__ import annotations

import math
from typing import List, Sequence, Tuple

import numpy as np

from ..config import Measuring
from ..record.events import SpeedBlockEvent
from .change_points import partition
from .estimate import FEWEST_REPLICATES
from .judge import INCONCLUSIVE, Judgement

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
    within = squares[None] - squares[:-1, None] - totals**2 / np.maximum(lengths, 1)
    return np.asarray(within)


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


STOP, START_FRESH = "stop", "fresh"
# the time that is left is too short for fresh processes and goes to these
USE_REMAINING = "rest"
# of the first wave before anything is judged: other work comes and goes within seconds, and each
# process should have seen the machine without it
FIRST_MEASURED_S = 12.0
FEWEST_ABBA_PAIRS, MOST_ABBA_PAIRS = 4, 8


def choose_first_abba_pairs(
    abba_pair_s: float,
    replicates: int = FEWEST_REPLICATES,
    left_s: float = math.inf,
    start_s: float = 0.0,
) -> int:
    """ABBA pairs before the first analysis, of which each takes `abba_pair_s`.

    Where the memory holds fewer `replicates` than an interval takes, the first wave is kept so
    short that those still missing fit into the `left_s` seconds, started in `start_s` a wave.
    """
    wanted = math.ceil(FIRST_MEASURED_S / max(abba_pair_s, 1e-9))
    wanted = max(FEWEST_ABBA_PAIRS, min(MOST_ABBA_PAIRS, wanted))
    waves = math.ceil(FEWEST_REPLICATES / replicates)
    if waves == 1:
        return wanted
    fit = (left_s - (waves - 1) * start_s) / waves / max(abba_pair_s, 1e-9)
    return math.floor(min(wanted, fit)) if fit >= 1 else wanted


def next_action(judgement: Judgement, aims: Measuring) -> str:
    """STOP or START_FRESH, after an analysis.

    `aims` says the most replicates, and the effect that must be resolvable (None: run for a
    verdict).
    """
    if judgement.verdict != INCONCLUSIVE:
        return STOP
    effect = judgement.smallest_effect
    if aims.until is not None and effect is not None and effect <= aims.until:
        return STOP
    return START_FRESH if judgement.replicates < aims.replicates else STOP


def measure_warmup(blocks: Sequence[SpeedBlockEvent]) -> Tuple[int, float]:
    """(steps, seconds) of one process before its step time settled, by its change points."""
    warmup = [b for b in blocks if b.kind == "warmup"]
    dropped = warmup[: find_warmup([b.step_time_s for b in warmup])]
    return sum(b.steps for b in dropped), sum(b.duration_s for b in dropped)
