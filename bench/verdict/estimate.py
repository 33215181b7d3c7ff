"""From block times to a ratio with a standard error that knows where the variance arises.

Processes of the same program differ: where the loader put the code, which pages it got. Blocks of
one process share that, so blocks are not the observations; processes are (Kalibera and Jones,
"Rigorous Benchmarking in Reasonable Time", ISMM 2013). The steps are

1. x[d, p]: mean log step time of process p in double round d. A double round visits all processes
   of a wave in a random order and then in its reverse, so a linear drift cancels out of it.
2. centre each double round on its median: what the machine did to all of them is gone.
3. z[p]: Hodges-Lehmann location of the centred values of p: a burst in a few blocks weighs little.
4. log ratio: mean z of the baseline's processes minus mean z of the contender's.
5. its variance: scatter of z among processes of one role, baseline and contender apart, with
   Satterthwaite's degrees of freedom (Welch, Biometrika 34, 1947). The control is the baseline's
   own program and adds its scatter to the baseline's. What is left of noise within a process is in
   that scatter, and needs no estimate of its own.

Waves of one process per role have no scatter within; then the scatter among waves' log ratios is
used, with the number of waves less one as degrees of freedom. Three processes of each role are the
fewest for an interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np

FEWEST_DF = 2  # of each side; one degree of freedom gives intervals without end
# variance of the Hodges-Lehmann location over that of the mean, normal errors (Lehmann, 1963)
_HODGES_LEHMANN_VARIANCE = 1.047


@dataclass(frozen=True)
class Wave:
    """Log step times of processes that were alive together.

    Each array has the shape (processes, double rounds), the same for all three roles.
    """

    baseline: np.ndarray
    contender: np.ndarray
    control: np.ndarray  # the baseline's program a second time


@dataclass(frozen=True)
class Estimate:
    """A log ratio: left time over right time, so above 0 the right side is faster."""

    log_ratio: float
    std_error: Optional[float]  # None: too few processes to know
    df: float  # degrees of freedom of the standard error
    replicates: int
    process_spread: Optional[float]  # standard deviation among processes of a role, of log times
    within_share: Optional[float]  # of that variance, what more blocks would take away


def hodges_lehmann(values: np.ndarray) -> np.ndarray:
    """Median of the averages of all pairs, with themselves, along the last axis."""
    count = values.shape[-1]
    left, right = np.triu_indices(count)
    return np.asarray(np.median((values[..., left] + values[..., right]) / 2, axis=-1))


def locate_processes(wave: Wave) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(baseline, contender, control) locations z, each of shape (processes,)."""
    stacked = np.concatenate([wave.baseline, wave.contender, wave.control])
    located = hodges_lehmann(stacked - np.median(stacked, axis=0, keepdims=True))
    count = len(wave.baseline)
    return located[:count], located[count : 2 * count], located[2 * count :]


def estimate_speedup(waves: Sequence[Wave]) -> Estimate:
    """The contender against the baseline, from at least one wave."""
    located = [locate_processes(wave) for wave in waves]
    return _estimate(
        left=[[z[0], z[2]] for z in located],
        right=[[z[1]] for z in located],
        within=_variance_within(waves, ("baseline", "contender")),
    )


def estimate_control(waves: Sequence[Wave]) -> Estimate:
    """The control against the baseline: the same program on both sides, so truly 0."""
    located = [locate_processes(wave) for wave in waves]
    return _estimate(
        left=[[z[0], z[2]] for z in located],
        right=[[z[2], z[0]] for z in located],
        within=_variance_within(waves, ("baseline", "control")),
    )


def _estimate(
    left: Sequence[Sequence[np.ndarray]], right: Sequence[Sequence[np.ndarray]], within: float
) -> Estimate:
    """From each wave's groups; a side's first group gives its mean, all give its scatter."""
    ratios = np.array([ours[0].mean() - theirs[0].mean() for ours, theirs in zip(left, right)])
    weights = np.array([len(ours[0]) for ours in left], dtype=float)
    count = int(weights.sum())
    log_ratio = float(np.average(ratios, weights=weights))
    (left_variance, left_df), (right_variance, right_df) = _scatter(left), _scatter(right)
    if min(left_df, right_df) >= FEWEST_DF:
        if _same_groups(left, right):  # the control: one scatter, known once
            right_variance, variance, df = left_variance, 2 * left_variance, float(left_df)
        else:
            variance = left_variance + right_variance
            parts = left_variance**2 / left_df + right_variance**2 / right_df
            df = variance**2 / parts if parts else float(left_df + right_df)
        std_error = float(np.sqrt(variance / count))
    elif len(ratios) > FEWEST_DF:
        variance, df = float(ratios.var(ddof=1)), float(len(ratios) - 1)
        std_error = float(np.sqrt(variance / len(ratios)))
    else:
        return Estimate(log_ratio, None, 0.0, count, None, None)
    share = min(1.0, within / variance) if variance else None
    return Estimate(log_ratio, std_error, df, count, float(np.sqrt(variance / 2)), share)


def _same_groups(
    left: Sequence[Sequence[np.ndarray]], right: Sequence[Sequence[np.ndarray]]
) -> bool:
    return len(left[0]) == len(right[0])


def _scatter(waves: Sequence[Sequence[np.ndarray]]) -> Tuple[float, int]:
    """Pooled variance of a side's processes around the mean of their group, and its df."""
    groups = [group for wave in waves for group in wave]
    df = sum(len(group) - 1 for group in groups)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return (squares / df if df else 0.0), df


def _variance_within(waves: Sequence[Wave], roles: Tuple[str, str]) -> float:
    """Variance of a difference of two z that comes from the blocks, averaged over the waves."""
    parts = []
    for wave in waves:
        everything = np.concatenate([wave.baseline, wave.contender, wave.control])
        centre = np.median(everything, axis=0, keepdims=True)
        count = everything.shape[1]
        if count < 2:
            return float("inf")
        parts.append(
            sum(float((getattr(wave, role) - centre).var(axis=1, ddof=1).mean()) for role in roles)
            * _HODGES_LEHMANN_VARIANCE
            / count
        )
    return float(np.mean(parts))
