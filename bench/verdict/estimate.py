"""From block times to a ratio with a standard error that knows where the variance arises.

Processes of the same program differ: where the loader put the code, which pages it got. Blocks of
one process share that, so blocks are not the observations; processes are (Kalibera and Jones,
"Rigorous Benchmarking in Reasonable Time", ISMM 2013). The steps are

1. x[r, p]: mean log step time of process p in round r. A round visits all processes of a wave in a
   random order, the next one in its reverse, so that none is always early or late.
2. z[p]: one number for all of p's x, the process estimate. It is the mean of the quickest quarter,
   or the median. The values are not centred on their round first: that made processes of one
   program scatter more (docs/adr/0012-quickest-quarter-of-the-blocks.md).
3. log ratio: mean z of the baseline's processes less that of the contender's. The control runs the
   baseline's program, so its processes are the baseline's too: twice as many on one side.
4. its variance: scatter of z among processes of one program, the two programs apart, with
   Satterthwaite's degrees of freedom (Welch, Biometrika 34, 1947). What is left of noise within a
   process is in that scatter, and needs no estimate of its own. The contender's scatter is taken
   to be at least that of all processes: its few may happen to lie close.

Waves of one process per role have no scatter within; then the scatter among waves' log ratios is
used, with the number of waves less one as degrees of freedom. Three processes of each role are the
fewest for an interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, Optional, Sequence, Tuple

import numpy as np

QUICKEST_SHARE = 1 / 4  # of a process's blocks, the quickest of them; one block at least
QUICKEST_QUARTER, MEDIAN = "quickest quarter", "median"

ProcessEstimate = Callable[[np.ndarray], np.ndarray]  # (processes, rounds) -> (processes,)


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


PROCESS_ESTIMATES: Dict[str, ProcessEstimate] = {QUICKEST_QUARTER: quickest_quarter, MEDIAN: median}
FEWEST_DF = 2  # of each side; one degree of freedom gives intervals without end
FEWEST_REPLICATES = FEWEST_DF + 1  # that an interval takes


@dataclass(frozen=True)
class Wave:
    """Log step times of processes that were alive together, each array (processes, rounds)."""

    baseline: np.ndarray
    contender: np.ndarray
    control: np.ndarray  # the baseline's program a second time

    def stack(self) -> np.ndarray:
        """Baseline, contender and control below each other."""
        return np.concatenate([self.baseline, self.contender, self.control])


@dataclass(frozen=True)
class Estimate:
    """A log ratio: left time over right time, so above 0 the right side is faster."""

    log_ratio: float
    std_error: Optional[float]  # None: too few processes to know
    df: float  # degrees of freedom of the standard error
    replicates: int
    process_spread: Optional[float]  # standard deviation among processes of one program
    within_share: Optional[float]  # of the log ratio's variance, what more blocks would take away


def estimate_speedup(waves: Sequence[Wave], summarise: ProcessEstimate) -> Estimate:
    """The contender against the baseline, from at least one wave."""
    stacked = [wave.stack() for wave in waves]
    summaries = [np.split(summarise(values), 3) for values in stacked]
    left = [np.concatenate([z[0], z[2]]) for z in summaries]
    right = [z[1] for z in summaries]
    (left_variance, left_df), (right_variance, right_df) = _scatter(left), _scatter(right)
    parts = [left_variance / 2, right_variance]  # of the log ratio, times the replicates
    df = 0.0
    if min(left_df, right_df) >= FEWEST_DF:
        squares = parts[0] ** 2 / left_df + parts[1] ** 2 / right_df
        df = sum(parts) ** 2 / squares if squares else float(left_df + right_df)
        pooled = (left_variance * left_df + right_variance * right_df) / (left_df + right_df)
        parts[1] = max(right_variance, pooled)
    within = _variance_within(
        stacked, {"baseline": 0.25, "control": 0.25, "contender": 1.0}, summarise
    )
    spread = float(np.sqrt((left_variance + right_variance) / 2))
    replicates = sum(len(group) for group in right)
    return _estimate(left, right, sum(parts) / replicates, df, spread, within)


def estimate_control(waves: Sequence[Wave], summarise: ProcessEstimate) -> Estimate:
    """The control against the baseline: the same program on both sides, so truly 0."""
    stacked = [wave.stack() for wave in waves]
    summaries = [np.split(summarise(values), 3) for values in stacked]
    left, right = [z[0] for z in summaries], [z[2] for z in summaries]
    variance, df = _scatter(left + right)  # one program, one scatter
    within = _variance_within(stacked, {"baseline": 1.0, "control": 1.0}, summarise)
    replicates = sum(len(group) for group in right)
    known_df = float(df) if df >= 2 * FEWEST_DF else 0.0
    return _estimate(left, right, 2 * variance / replicates, known_df, variance**0.5, within)


def _estimate(
    left: Sequence[np.ndarray],
    right: Sequence[np.ndarray],
    variance: float,
    df: float,
    spread: float,
    within: float,
) -> Estimate:
    """From the processes of each wave; `variance` is of the log ratio, df 0 if it is not known."""
    ratios = np.array([ours.mean() - theirs.mean() for ours, theirs in zip(left, right)])
    weights = np.array([len(group) for group in right], dtype=float)
    log_ratio = float(np.average(ratios, weights=weights))
    replicates = int(weights.sum())
    if not df:
        if len(ratios) <= FEWEST_DF:
            return Estimate(log_ratio, None, 0.0, replicates, None, None)
        variance, df = float(ratios.var(ddof=1)) / len(ratios), float(len(ratios) - 1)
        spread = float(ratios.std(ddof=1) / np.sqrt(2))
    share = min(1.0, within / (variance * replicates)) if variance else None
    return Estimate(log_ratio, float(np.sqrt(variance)), df, replicates, spread, share)


def _scatter(groups: Sequence[np.ndarray]) -> Tuple[float, int]:
    """Pooled variance of processes around the mean of their group, and its degrees of freedom."""
    df = sum(len(group) - 1 for group in groups)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return (squares / df if df else 0.0), df


def _variance_within(
    stacked: Sequence[np.ndarray], shares: Dict[str, float], summarise: ProcessEstimate
) -> float:
    """What the blocks add to a replicate's log ratio, averaged over the waves.

    `shares` says how much of the variance of a role's z enters. The variance of z comes from its
    two halves in time, so that a disturbance that lasts for some blocks counts as what it is:
    each half's is twice that of the whole, and that of their difference four times. What changed
    from half to half for all processes alike is the machine's drift, and no part of it.
    """
    parts = []
    for values in stacked:
        half = values.shape[1] // 2
        if half < 2:
            return float("inf")
        changes = summarise(values[:, :half]) - summarise(values[:, -half:])
        own = (changes - changes.mean()) ** 2 * len(changes) / (len(changes) - 1)
        by_role = dict(zip(("baseline", "contender", "control"), np.split(own / 4, 3)))
        parts.append(sum(share * float(by_role[role].mean()) for role, share in shares.items()))
    return float(np.mean(parts))
