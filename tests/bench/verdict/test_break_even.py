from __future__ import annotations

import math

import pytest

from oneflow_bench.bench.verdict.statistics import estimate_break_even


def test_the_overhead_is_paid_by_the_gain_of_so_many_steps():
    even = estimate_break_even([2.0], 0.1, math.log(1.25), None, 0.0)
    assert even.steps == pytest.approx(2.0 / 0.02)
    assert even.low is None and even.high is None


def test_the_interval_holds_both_uncertainties():
    exact = estimate_break_even([2.0] * 5, 0.1, math.log(1.25), 0.001, 8)
    compile_varies = estimate_break_even([1.5, 2.5, 2, 1.8, 2.2], 0.1, math.log(1.25), 0.001, 8)
    speed_varies = estimate_break_even([2.0] * 5, 0.1, math.log(1.25), 0.05, 8)
    for wider in (compile_varies, speed_varies):
        assert wider.low < exact.low < 100 < exact.high < wider.high


def test_what_is_not_faster_never_breaks_even_and_an_interval_may_reach_never():
    assert estimate_break_even([2.0], 0.1, math.log(0.9), None, 0).steps is None
    unsure = estimate_break_even([2.0, 2.1, 1.9], 0.1, math.log(1.02), 0.02, 6)
    assert unsure.steps is not None and unsure.low is not None and unsure.high is None


def test_no_overhead_is_no_step():
    assert estimate_break_even([-0.1], 0.1, math.log(1.1), None, 0).steps == 0
