from __future__ import annotations

import random

import pytest
from scipy.stats import binom

from oneflow_bench.bench.verdict.statistics import (
    correlation,
    paired_log_ratio,
    summarize,
    unpaired_ratio,
)


def test_the_median_and_its_order_statistics():
    summary = summarize([5, 1, 2, 3, 4, 9, 8, 7, 6])
    assert (summary.median, summary.count) == (5, 9)
    assert (summary.low, summary.high) == (2, 8)  # Conover's table for n = 9: ranks 2 and 8


def test_few_values_have_a_median_and_no_interval():
    summary = summarize([1.0, 2.0, 3.0, 4.0])
    assert (summary.median, summary.low, summary.high) == (2.5, None, None)
    with pytest.raises(ValueError, match="at least one"):
        summarize([])


def test_a_constant_ratio_is_found_whatever_the_drift():
    drift = [1 + 0.05 * i for i in range(20)]
    ratio = paired_log_ratio([1.2 * d for d in drift], drift)
    assert ratio.ratio == pytest.approx(1.2)
    assert ratio.low == pytest.approx(1.2)


def test_linear_drift_between_the_turns_of_a_pair_cancels():
    clock, times = 0.0, {"a": [], "b": []}
    for pair in range(40):
        for name in "ab" if pair % 2 == 0 else "ba":
            times[name].append(1.0 + 0.001 * clock)
            clock += 1
    assert paired_log_ratio(times["a"], times["b"]).ratio == pytest.approx(1.0, abs=1e-6)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    source = random.Random(1)
    median_hits = ratio_hits = 0
    for _ in range(1000):
        base = [source.lognormvariate(0, 0.1) for _ in range(30)]
        other = [source.lognormvariate(-0.05, 0.1) for _ in range(30)]
        summary = summarize(base)
        median_hits += summary.low <= 1.0 <= summary.high
        ratio = paired_log_ratio(base, other)
        ratio_hits += ratio.low <= 2.718281828**0.05 <= ratio.high
    assert median_hits >= 935  # conservative: at least 95 % less chance
    assert 930 <= ratio_hits <= 970


def test_the_smallest_effect_shrinks_with_more_blocks():
    source = random.Random(2)
    noise = [1 + source.gauss(0, 0.03) for _ in range(400)]
    few = paired_log_ratio(noise[:20], noise[20:40])
    many = paired_log_ratio(noise[:200], noise[200:])
    assert many.smallest_effect < few.smallest_effect / 2


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="2 baseline and 1 contender"):
        paired_log_ratio([1, 2], [1])
    with pytest.raises(ValueError):
        unpaired_ratio([], [1.0])


def test_unpaired_medians_have_a_bootstrap_interval():
    source = random.Random(3)
    left = [1.2 * (1 + source.gauss(0, 0.02)) for _ in range(40)]
    right = [1 + source.gauss(0, 0.02) for _ in range(40)]
    ratio = unpaired_ratio(left, right)
    assert ratio.low < 1.2 < ratio.high
    assert ratio == unpaired_ratio(left, right)


def test_correlation():
    assert correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert correlation([1, 1], [1, 2]) is None
    assert correlation([1], [2]) is None


@pytest.mark.parametrize("count", [1_026, 1_000_000])
def test_the_interval_of_many_values_holds_its_ranks(count):
    shown = summarize(range(count))
    tail = binom.cdf(shown.low, count, 0.5)
    assert tail <= 0.025 < binom.cdf(shown.low + 1, count, 0.5)
    assert shown.low + shown.high == count - 1
