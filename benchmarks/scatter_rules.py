"""The error of a speedup by other rules than the suite's, for all runs of a sample at once.

A rule takes the scatter of both sides and gives a variance and its degrees of freedom. All else is
the suite's verdict, by `judge_all`. `scatter_study.py` applies the rules to samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Dict, List, Tuple

import numpy as np
from scipy.stats import t

from oneflow_bench.bench.config import Measuring
from oneflow_bench.bench.verdict.estimate import (
    MEDIAN,
    PROCESS_ESTIMATES,
    QUICKEST_QUARTER,
    ProcessEstimate,
    median,
    quickest_quarter,
)
from oneflow_bench.bench.verdict.judge import (
    ANALYSIS_PRICE,
    DIFFERENCE_ALPHA,
    EQUIVALENT,
    FASTER,
    INCONCLUSIVE,
    SLOWER,
    analysis_alpha,
    is_analysis_due,
)
from oneflow_bench.bench.verdict.statistics import CONFIDENCE

BETWEEN = "difference of both"
ESTIMATES: Dict[str, ProcessEstimate] = {
    **PROCESS_ESTIMATES,
    BETWEEN: lambda values: quickest_quarter(values) - median(values),
}
WITHIN_SHARE = 1.3  # of a process's scatter over its jackknife variance, as stored samples have it


@dataclass(frozen=True)
class Sample:
    """Runs of waves, by process estimate: (runs, waves, roles, processes).

    `within` is the jackknife variance of each value over its ABBA pairs. `wave_s`: seconds.
    """

    values: Dict[str, np.ndarray]
    within: Dict[str, np.ndarray]
    wave_s: float

    def plant(self, effect: float) -> Sample:
        """With the contender so much slower."""
        shift = np.array([[0.0], [np.log1p(effect)], [0.0]])
        moved = {n: v if n == BETWEEN else v + shift for n, v in self.values.items()}
        return replace(self, values=moved)


@dataclass(frozen=True)
class Scatter:
    """Of one process estimate, an entry for each run. `left` is the baseline with its control."""

    left: np.ndarray  # variances among processes of a wave
    right: np.ndarray
    left_df: int
    right_df: int
    left_within: np.ndarray
    right_within: np.ndarray
    of_pairs: np.ndarray  # variance of the replicates' log ratios around their wave's mean

    @property
    def pooled(self) -> np.ndarray:
        parts = self.left * self.left_df + self.right * self.right_df
        return np.asarray(parts / (self.left_df + self.right_df))


Rule = Callable[[Scatter], Tuple[np.ndarray, np.ndarray]]  # variance times replicates, df


def welch(scatter: Scatter) -> Tuple[np.ndarray, np.ndarray]:
    left, right = scatter.left / 2, scatter.right
    squares = left**2 / scatter.left_df + right**2 / scatter.right_df
    return left + right, (left + right) ** 2 / squares


def todays(scatter: Scatter) -> Tuple[np.ndarray, np.ndarray]:
    """As `estimate_speedup`: the contender's scatter is taken to be at least that of all."""
    return scatter.left / 2 + np.maximum(scatter.right, scatter.pooled), welch(scatter)[1]


def pooled(scatter: Scatter) -> Tuple[np.ndarray, np.ndarray]:
    """One variance for both sides: Student's."""
    df = scatter.left_df + scatter.right_df
    return 1.5 * scatter.pooled, np.full_like(scatter.pooled, df)


def moderate(weight: float) -> Rule:
    """Each side's variance is drawn to the pooled one, which counts as `weight` degrees of freedom.

    Smyth's moderated variance (Stat. Appl. Genet. Mol. Biol. 3, 2004), of two variances. The
    degrees of freedom are Satterthwaite's of the sum that it comes to. Today's floor stays.
    """

    def rule(scatter: Scatter) -> Tuple[np.ndarray, np.ndarray]:
        dfs = np.array([scatter.left_df, scatter.right_df])
        sides, drawn = np.array([scatter.left, scatter.right]), weight / (dfs + weight)
        own = (1 - drawn)[:, None] * sides + drawn[:, None] * scatter.pooled
        to_pooled = drawn[0] / 2 + drawn[1]
        shares = np.array([0.5, 1.0]) * (1 - drawn) + to_pooled * dfs / dfs.sum()
        parts = shares[:, None] * own
        df = parts.sum(0) ** 2 / (parts**2 / dfs[:, None]).sum(0)
        return own[0] / 2 + np.maximum(own[1], scatter.pooled), df

    return rule


def expect_within(weight: int) -> Rule:
    """Today's rule, with `weight` degrees of freedom from the noise within a process."""

    def rule(scatter: Scatter) -> Tuple[np.ndarray, np.ndarray]:
        def draw(own: np.ndarray, within: np.ndarray, df: int) -> np.ndarray:
            return (df * own + weight * WITHIN_SHARE * within) / (df + weight)

        return todays(
            replace(
                scatter,
                left=draw(scatter.left, scatter.left_within, scatter.left_df),
                right=draw(scatter.right, scatter.right_within, scatter.right_df),
                left_df=scatter.left_df + weight,
                right_df=scatter.right_df + weight,
            )
        )

    return rule


def pair(scatter: Scatter) -> Tuple[np.ndarray, np.ndarray]:
    """By the differences of the replicates, as if their processes belonged together."""
    return scatter.of_pairs, np.full_like(scatter.of_pairs, scatter.right_df)


RULES: Dict[str, Tuple[Rule, float]] = {  # and the error of `faster` and `slower`
    "today's": (todays, DIFFERENCE_ALPHA),
    "today's, 1.5 %": (todays, 0.015),
    "Welch alone": (welch, DIFFERENCE_ALPHA),
    "pooled": (pooled, DIFFERENCE_ALPHA),
    "pooled, 0.5 %": (pooled, 0.005),
    "moderated by 1": (moderate(1), DIFFERENCE_ALPHA),
    "moderated by 2": (moderate(2), DIFFERENCE_ALPHA),
    "moderated by 2, 0.5 %": (moderate(2), 0.005),
    "moderated by 4": (moderate(4), DIFFERENCE_ALPHA),
    "within by 4": (expect_within(4), DIFFERENCE_ALPHA),
    "pairs": (pair, DIFFERENCE_ALPHA),
}


def measure_scatter(sample: Sample, name: str, waves: int) -> Tuple[Scatter, np.ndarray]:
    """Of the first waves, and the log ratios; an entry for each run."""
    values, within = sample.values[name][:, :waves], sample.within[name][:, :waves]
    df = waves * (values.shape[-1] - 1)
    both = np.concatenate([values[:, :, 0], values[:, :, 2]], axis=-1)  # one program
    left = np.var(both, axis=-1).sum(1) * both.shape[-1]
    right = np.var(values[:, :, 1], axis=-1).sum(1) * values.shape[-1]
    of_within = within.mean((1, 3))
    ratios = (values[:, :, 0] + values[:, :, 2]) / 2 - values[:, :, 1]
    around = ((ratios - ratios.mean(-1, keepdims=True)) ** 2).sum((1, 2)) / df
    scatter = Scatter(
        left=left / (2 * df + waves),
        right=right / df,
        left_df=2 * df + waves,
        right_df=df,
        left_within=(of_within[:, 0] + of_within[:, 2]) / 2,
        right_within=of_within[:, 1],
        of_pairs=around,
    )
    return scatter, ratios.mean((1, 2))


def judge_all(
    sample: Sample, waves: int, analysis: int, rule: Rule, alpha: float
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(verdicts, log ratios, half widths of the 95 % interval) of all runs, as `judge` has them."""
    replicates = waves * sample.values[MEDIAN].shape[-1]
    tails = (1 - CONFIDENCE) / 2 / analysis**ANALYSIS_PRICE, analysis_alpha(analysis, alpha) / 2
    found = {}
    for name in ESTIMATES:
        scatter, ratio = measure_scatter(sample, name, waves)
        variance, df = rule(scatter)
        error = np.sqrt(variance / replicates)
        halves = [t.ppf(1 - tail, df) * error for tail in tails]
        found[name] = np.array([ratio, error, *halves, *_form_control(sample, name, waves, tails)])
    apart = np.abs(found[BETWEEN][0]) > found[BETWEEN][3]
    typical = (found[MEDIAN][1] < found[QUICKEST_QUARTER][1]) | apart
    chosen = np.where(typical, found[MEDIAN], found[QUICKEST_QUARTER])
    verdicts = _decide(*chosen[[0, 2, 3]])
    agrees = np.sign(chosen[0]) * found[MEDIAN][0] > np.log1p(Measuring().margin)
    differs = np.isin(verdicts, (FASTER, SLOWER))
    disturbed = np.isin(_decide(*chosen[4:]), (FASTER, SLOWER))  # the control
    verdicts[(differs & ~agrees) | disturbed] = INCONCLUSIVE
    return verdicts, chosen[0], chosen[2]


def _form_control(
    sample: Sample, name: str, waves: int, tails: Tuple[float, float]
) -> List[np.ndarray]:
    """Log ratio and half widths of the baseline against the control."""
    values = sample.values[name][:, :waves][:, :, [0, 2]]
    df, replicates = 2 * waves * (values.shape[-1] - 1), waves * values.shape[-1]
    variance = np.var(values, axis=-1).sum((1, 2)) * values.shape[-1] / df
    error = np.sqrt(2 * variance / replicates)
    means = values.mean(-1)
    control = (means[..., 0] - means[..., 1]).mean(1)
    return [control, *(t.ppf(1 - tail, df) * error for tail in tails)]


def _decide(ratio: np.ndarray, half: np.ndarray, sequential: np.ndarray) -> np.ndarray:
    margin, same = np.log1p(Measuring().margin), np.log1p(Measuring().equivalence)
    verdicts = np.full(len(ratio), INCONCLUSIVE, dtype=object)
    verdicts[np.abs(ratio) + half < same] = EQUIVALENT
    sure = (np.abs(ratio) - half > margin) & (np.abs(ratio) > sequential)
    verdicts[sure] = np.where(ratio > 0, FASTER, SLOWER)[sure]
    return verdicts


def run_all(sample: Sample, rule: Rule, alpha: float) -> Tuple[np.ndarray, ...]:
    """(verdicts, log ratios, half widths, seconds) of all runs, each at its end."""
    waves, analyses, seen = sample.values[MEDIAN].shape[1], 0, 0
    last: List[np.ndarray] = []
    for done in range(1, waves + 1):
        if done < waves and not is_analysis_due(done, seen):
            continue
        analyses, seen = analyses + 1, done
        judged = judge_all(sample, done, analyses, rule, alpha)
        now = [*judged, np.full(len(judged[0]), done * sample.wave_s)]
        ended = last[0] != INCONCLUSIVE if last else np.zeros(len(judged[0]), dtype=bool)
        last = [np.where(ended, old, new) for old, new in zip(last or now, now)]
    return tuple(last)
