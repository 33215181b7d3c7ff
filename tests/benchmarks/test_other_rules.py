from __future__ import annotations

import numpy as np
import pytest
from other_rules import RULES, asv, criterion, google_benchmark, hyperfine, pyperf, torchbench


def draw(ratio=1.0, count=60, noise=0.03, seed=0):
    source = np.random.default_rng(seed)
    return (
        list(source.normal(1, noise, count)),
        list(ratio * source.normal(1, noise, count)),
    )


@pytest.mark.parametrize("name", RULES)
def test_every_rule_sees_a_big_difference_and_its_direction(name):
    assert RULES[name](*draw(1.3)) == "slower"
    assert RULES[name](*draw(0.7)) == "faster"


@pytest.mark.parametrize("name", RULES)
def test_no_rule_calls_the_same_samples_different(name):
    times, _ = draw()
    assert RULES[name](times, times) == "same"


def test_practical_thresholds_hide_what_is_below_them():
    small = draw(1.05, noise=0.005)
    assert asv(*small) == torchbench(*small) == "same"
    assert asv(*draw(1.12, noise=0.005)) == torchbench(*draw(1.08, noise=0.005)) == "slower"
    assert criterion(*draw(1.005, noise=0.002, count=200)) == "same"
    assert criterion(*draw(1.05)) == "slower"
    for rule in (pyperf, google_benchmark, hyperfine):
        assert rule(*draw(1.005, noise=0.002, count=200)) == "slower"


@pytest.mark.slow
@pytest.mark.parametrize("rule", [pyperf, google_benchmark, hyperfine])
def test_tests_at_5_percent_are_wrong_in_about_5_percent_of_independent_samples(rule):
    wrong = sum(rule(*draw(seed=seed)) != "same" for seed in range(400))
    assert 8 <= wrong <= 36
