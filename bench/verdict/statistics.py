"""Statistics of block times. Everything here works on plain lists of seconds.

Intervals are of 95 % where nothing else is said. Blocks that ran one after the other share the
machine's drift; so what is compared are pairs, and what counts as one observation is the double
pair (ABBA or BAAB), out of which a linear drift cancels.
"""

from __future__ import annotations

import math
import statistics
from functools import lru_cache
from typing import List, Optional, Sequence, Tuple

import numpy as np
from pydantic import BaseModel

DRAWS = 20_000
SEED = 0


class BreakEven(BaseModel):
    """Steps after which the compile time is won back."""

    steps: Optional[float]  # None: never, at the measured ratio
    low: Optional[float]
    high: Optional[float]  # None: the interval reaches "never"


def estimate_break_even(
    overheads_s: Sequence[float],
    step_time_s: float,
    log_ratio: float,
    std_error: Optional[float],
    df: float,
) -> BreakEven:
    """Compile overhead over the gain of a step.

    `overheads_s` are the further compile seconds of the contender, one for each replicate;
    `step_time_s` is the baseline's. The 95 % interval is that of draws from both t distributions,
    of the mean overhead and of the log ratio; where there is too little to form one of them, it
    is left out, and the interval says less than it should, so then there is none.
    """
    overhead = float(np.mean(overheads_s))
    point = _steps(np.array([overhead]), step_time_s, np.array([log_ratio]))[0]
    low = high = None
    if std_error is not None and len(overheads_s) > 1:
        source = np.random.RandomState(SEED)
        count = len(overheads_s)
        error = float(np.std(overheads_s, ddof=1)) / math.sqrt(count)
        overheads = overhead + error * source.standard_t(count - 1, DRAWS)
        ratios = log_ratio + std_error * source.standard_t(df, DRAWS)
        ends = np.percentile(_steps(overheads, step_time_s, ratios), [2.5, 97.5], method="lower")
        low, high = (None if math.isinf(end) else float(end) for end in ends)
    return BreakEven(steps=None if math.isinf(point) else float(point), low=low, high=high)


def _steps(overheads_s: np.ndarray, step_time_s: float, log_ratios: np.ndarray) -> np.ndarray:
    """Infinite where nothing is gained; 0 where nothing was paid."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gain = step_time_s * -np.expm1(-log_ratios)
        steps = np.where(gain > 0, overheads_s / gain, np.inf)
    return np.asarray(np.where((overheads_s <= 0) & (gain >= 0), 0.0, np.maximum(steps, 0.0)))


CONFIDENCE = 0.95
BOOTSTRAP_SAMPLES = 4000
BOOTSTRAP_SEED = 0
LARGEST_DRAW = 2**18  # values drawn together; a long run has 20,000 times
POWER = 0.9


class Summary(BaseModel):
    """A median with its interval; low and high are None below six values."""

    median: float
    low: Optional[float]
    high: Optional[float]
    count: int


class Ratio(BaseModel):
    """Baseline time over contender time: above 1 the contender is faster.

    `smallest_effect` is the relative difference that this many observations with this scatter would
    have shown beyond zero with probability 0.9.
    """

    ratio: float
    low: Optional[float]
    high: Optional[float]
    count: int  # observations: double pairs, or blocks of a side when not paired
    paired: bool
    smallest_effect: Optional[float]


def summarize(values: Sequence[float]) -> Summary:
    """Median and the distribution-free interval between two order statistics.

    The ranks are those of the binomial distribution with p = 1/2 (Conover, Practical
    Nonparametric Statistics, 1999, section 3.2), so coverage is at least 95 %. Raises ValueError
    for no values.
    """
    if not values:
        raise ValueError("the median of no values was asked for; give at least one")
    ordered = sorted(values)
    count, median = len(ordered), statistics.median(ordered)
    rank = _lower_rank(count)
    low, high = (None, None) if rank is None else (ordered[rank], ordered[count - 1 - rank])
    return Summary(median=median, low=low, high=high, count=count)


@lru_cache(maxsize=None)
def _lower_rank(count: int) -> Optional[int]:
    """Largest r with P(Binomial(count, 1/2) <= r) <= 0.025, or None where there is none."""
    from scipy.special import bdtr, bdtrik

    tail = (1 - CONFIDENCE) / 2
    rank = math.ceil(bdtrik(tail, count, 0.5)) if count > 1 else 0
    while rank >= 0 and bdtr(rank, count, 0.5) > tail:
        rank -= 1
    return rank if rank >= 0 else None


def paired_log_ratio(baseline_s: Sequence[float], contender_s: Sequence[float]) -> Ratio:
    """Speedup from times measured in pairs: exp of the mean log ratio, with a t interval.

    `baseline_s[i]` and `contender_s[i]` were measured side by side. Two neighbouring pairs, being
    ABBA or BAAB, are averaged into one observation before the interval is formed. Raises ValueError
    for unequal or no lengths.
    """
    if len(baseline_s) != len(contender_s) or not baseline_s:
        raise ValueError(
            f"{len(baseline_s)} baseline and {len(contender_s)} contender times were given; "
            "pairs need equally many, and at least one"
        )
    logs = [math.log(b / c) for b, c in zip(baseline_s, contender_s)]
    observations = [sum(logs[i : i + 2]) / len(logs[i : i + 2]) for i in range(0, len(logs), 2)]
    if len(logs) % 2 and len(observations) > 1:  # a half ABBA pair would weigh as a whole one
        observations.pop()
    mean = sum(observations) / len(observations)
    half, effect = _t_interval(observations, mean)
    return Ratio(
        ratio=math.exp(mean),
        low=None if half is None else math.exp(mean - half),
        high=None if half is None else math.exp(mean + half),
        count=len(observations),
        paired=True,
        smallest_effect=effect,
    )


def _t_interval(values: List[float], mean: float) -> Tuple[Optional[float], Optional[float]]:
    count = len(values)
    if count < 2:
        return None, None
    error = statistics.stdev(values, mean) / math.sqrt(count)
    quantile, power = t_quantile(count - 1), t_quantile(count - 1, POWER)
    return quantile * error, math.expm1((quantile + power) * error)


def t_quantile(freedom: float, probability: float = 0.5 + CONFIDENCE / 2) -> float:
    """Quantile of Student's t distribution; that of a two-sided 95 % interval by default."""
    # scipy.stats has it too and takes longer to import
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def unpaired_ratio(baseline_s: Sequence[float], contender_s: Sequence[float]) -> Ratio:
    """Ratio of medians of two runs that took no turns, with a bootstrap percentile interval.

    What the machine did differently during the two runs is in the ratio and not in the interval.
    Raises ValueError for an empty side.
    """
    if not baseline_s or not contender_s:
        raise ValueError("both sides need at least one time")
    source = np.random.RandomState(BOOTSTRAP_SEED)
    left, right = np.asarray(baseline_s), np.asarray(contender_s)
    ratio = float(np.median(left) / np.median(right))
    low = high = None
    if min(len(left), len(right)) > 1:
        draws = [_draw_medians(source, side) for side in (left, right)]
        tail = 50 * (1 - CONFIDENCE)
        low, high = (float(v) for v in np.percentile(draws[0] / draws[1], [tail, 100 - tail]))
    return Ratio(
        ratio=ratio,
        low=low,
        high=high,
        count=min(len(left), len(right)),
        paired=False,
        smallest_effect=None,
    )


def _draw_medians(source: np.random.RandomState, values: np.ndarray) -> np.ndarray:
    """The medians of BOOTSTRAP_SAMPLES samples, drawn with replacement."""
    rows = max(1, LARGEST_DRAW // len(values))
    sizes = [min(rows, BOOTSTRAP_SAMPLES - i) for i in range(0, BOOTSTRAP_SAMPLES, rows)]
    return np.concatenate(
        [np.median(source.choice(values, (size, len(values))), axis=1) for size in sizes]
    )


def correlation(left: Sequence[float], right: Sequence[float]) -> Optional[float]:
    """Pearson's correlation; None for fewer than two values or a side that does not vary."""
    if len(left) < 2:
        return None
    x, y = (np.asarray(side) - np.mean(side) for side in (left, right))
    scale = math.sqrt((x @ x) * (y @ y))
    return float(x @ y) / scale if scale else None
