from __future__ import annotations

import numpy as np
import pytest
from scatter_rules import RULES, judge_all, measure_scatter, moderate, pooled, todays, welch
from scatter_study import collect, simulate

from oneflow_bench.bench.verdict.estimate import Wave
from oneflow_bench.bench.verdict.judge import judge

RUNS, ROUNDS = 40, 16


def draw(waves, effect):
    """(runs, waves, roles, processes, rounds), of two programs that scatter differently."""
    source = np.random.default_rng(3)
    own = source.normal(0, 0.006, (RUNS, waves, 3, 3, 1)) * [[[1]], [[2]], [[1]]]
    own[:, :, 1] += effect
    return own + source.normal(0, 0.03, (RUNS, waves, 3, 3, ROUNDS))


@pytest.mark.parametrize("waves, effect", [(1, 0.0), (2, 0.0), (1, 0.05), (2, -0.05)])
def test_all_runs_at_once_are_judged_as_one_is_by_the_suite(waves, effect):
    times = draw(waves, effect)
    verdicts, ratios, halves = judge_all(collect(times, 1.0), waves, waves, *RULES["today's"])
    for run, verdict, ratio, half in zip(times, verdicts, ratios, halves):
        judgement = judge([Wave(*wave) for wave in run], waves)
        assert judgement.verdict == verdict
        assert judgement.speedup.ratio == pytest.approx(np.exp(ratio))
        assert judgement.speedup.high == pytest.approx(np.exp(ratio + half), rel=1e-3)


def test_a_moderated_variance_lies_between_welchs_and_the_pooled_one():
    sample = simulate(200, 0.02, contender=2.0)
    scatter, _ = measure_scatter(sample, "median", 1)
    floor = scatter.left / 2 + np.maximum(scatter.right, scatter.pooled)
    assert np.allclose(moderate(0)(scatter), (floor, welch(scatter)[1]))
    assert np.allclose(moderate(0)(scatter)[0], todays(scatter)[0])
    variance, df = moderate(1e9)(scatter)
    assert np.allclose(variance, pooled(scatter)[0], rtol=1e-6)
    assert np.allclose(df, 7, rtol=1e-6)
    assert (moderate(2)(scatter)[1] >= welch(scatter)[1] - 1e-9).mean() > 0.9


def test_pooling_loses_coverage_where_the_contender_scatters_more():
    sample = simulate(500, 0.015, contender=2.0, budget_s=18)
    rates = {}
    for name in ("today's", "pooled"):
        _, ratios, halves = judge_all(sample, 1, 1, *RULES[name])
        rates[name] = np.mean(np.abs(ratios) <= halves)
    assert rates["pooled"] < 0.93 < rates["today's"]
