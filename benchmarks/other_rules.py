"""The decision rules of other tools, applied to two lists of step times in seconds.

Each function says `faster`, `slower` or `same` of the second list against the first. The rules are
written from the tools' documents and sources, none of which is copied. The tools would have taken
their samples one side after the other; here all rules see the same interleaved samples, which is
kinder to them than their own practice.
"""

from __future__ import annotations

import statistics
from typing import Callable, Dict, Sequence

import numpy as np
from scipy import stats

FASTER, SLOWER, SAME = "faster", "slower", "same"
ASV_P, ASV_FACTOR = 0.002, 1.1
CRITERION_P, CRITERION_NOISE, CRITERION_RESAMPLES = 0.05, 0.01, 2000
GOOGLE_BENCHMARK_P = 0.05
PYPERF_P = 0.05
HYPERFINE_P = 0.05
TORCHBENCH_THRESHOLD = 0.07

Times = Sequence[float]


def asv(baseline: Times, contender: Times) -> str:
    """Mann-Whitney at 0.002, and medians apart by a factor above 1.1."""
    factor = statistics.median(contender) / statistics.median(baseline)
    if _mann_whitney(baseline, contender) >= ASV_P or 1 / ASV_FACTOR <= factor <= ASV_FACTOR:
        return SAME
    return _direction(factor - 1)


def criterion(baseline: Times, contender: Times) -> str:
    """Bootstrapped t test at 0.05, and the 95 % interval of the change of means beyond 1 %."""
    source = np.random.RandomState(0)
    left, right = np.asarray(baseline), np.asarray(contender)
    both = np.concatenate([left, right])

    def resample(values: np.ndarray, size: int) -> np.ndarray:
        return values[source.randint(0, len(values), (CRITERION_RESAMPLES, size))]

    observed = _t_statistic(left[None], right[None])[0]
    mixed = _t_statistic(resample(both, len(left)), resample(both, len(right)))
    p_value = float(np.mean(np.abs(mixed) >= abs(observed)))
    changes = resample(right, len(right)).mean(axis=1) / resample(left, len(left)).mean(axis=1) - 1
    low, high = np.percentile(changes, [2.5, 97.5])
    if p_value >= CRITERION_P or (low <= CRITERION_NOISE and high >= -CRITERION_NOISE):
        return SAME
    return _direction(float(low + high))


def pyperf(baseline: Times, contender: Times) -> str:
    """Two-sided t test with pooled variance at 0.05 over all values."""
    return _by_p_value(stats.ttest_ind(baseline, contender).pvalue, PYPERF_P, baseline, contender)


def google_benchmark(baseline: Times, contender: Times) -> str:
    """Mann-Whitney at 0.05."""
    p_value = _mann_whitney(baseline, contender)
    return _by_p_value(p_value, GOOGLE_BENCHMARK_P, baseline, contender)


def hyperfine(baseline: Times, contender: Times) -> str:
    """Its separate script: Welch's t test at 0.05."""
    p_value = stats.ttest_ind(baseline, contender, equal_var=False).pvalue
    return _by_p_value(p_value, HYPERFINE_P, baseline, contender)


def torchbench(baseline: Times, contender: Times) -> str:
    """Medians differ by more than 7 %."""
    change = statistics.median(contender) / statistics.median(baseline) - 1
    return SAME if abs(change) <= TORCHBENCH_THRESHOLD else _direction(change)


RULES: Dict[str, Callable[[Times, Times], str]] = {
    "asv": asv,
    "criterion": criterion,
    "pyperf": pyperf,
    "google-benchmark (Mann-Whitney)": google_benchmark,
    "hyperfine (Welch script)": hyperfine,
    "TorchBench (7 %)": torchbench,
}


def _mann_whitney(baseline: Times, contender: Times) -> float:
    return float(stats.mannwhitneyu(baseline, contender, alternative="two-sided").pvalue)


def _by_p_value(p_value: float, limit: float, baseline: Times, contender: Times) -> str:
    if not p_value < limit:
        return SAME
    return _direction(float(np.mean(contender) - np.mean(baseline)))


def _direction(change: float) -> str:
    return SLOWER if change > 0 else FASTER


def _t_statistic(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Welch's statistic of each row."""
    variance = left.var(axis=1, ddof=1) / left.shape[1] + right.var(axis=1, ddof=1) / right.shape[1]
    return np.asarray((left.mean(axis=1) - right.mean(axis=1)) / np.sqrt(variance))
