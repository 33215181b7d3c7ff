"""After how many steps a compilation has paid for itself, with an interval."""

from __future__ import annotations

import math
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
        low, high = _quantiles(_steps(overheads, step_time_s, ratios))
    return BreakEven(steps=None if math.isinf(point) else float(point), low=low, high=high)


def _steps(overheads_s: np.ndarray, step_time_s: float, log_ratios: np.ndarray) -> np.ndarray:
    """Infinite where nothing is gained; 0 where nothing was paid."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gain = step_time_s * -np.expm1(-log_ratios)
        steps = np.where(gain > 0, overheads_s / gain, np.inf)
    return np.asarray(np.where((overheads_s <= 0) & (gain >= 0), 0.0, np.maximum(steps, 0.0)))


def _quantiles(steps: np.ndarray) -> Tuple[Optional[float], Optional[float]]:
    ordered = np.sort(steps)
    ends: List[Optional[float]] = []
    for share in (0.025, 0.975):
        value = float(ordered[int(share * (len(ordered) - 1))])
        ends.append(None if math.isinf(value) else value)
    return ends[0], ends[1]
