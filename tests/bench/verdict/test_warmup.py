from __future__ import annotations

import random

import pytest

from oneflow_bench.bench.verdict.stopping import find_change_points, find_warmup, is_settled


def noisy(levels, noise=0.01, seed=0):
    source = random.Random(seed)
    return [level * (1 + source.gauss(0, noise)) for level in levels]


@pytest.mark.parametrize(
    "levels, warmup",
    [
        ([1.0] * 12, 0),
        ([3.0] + [1.0] * 12, 1),
        ([2.0] * 4 + [1.0] * 9, 4),
        ([4.0] + [1.5] * 3 + [1.0] * 10, 4),
        ([0.8] * 5 + [1.0] * 12, 5),
    ],
)
def test_the_change_of_level_is_where_warmup_ends(levels, warmup):
    for seed in range(20):
        assert abs(find_warmup(noisy(levels, seed=seed)) - warmup) <= 1


def test_one_disturbed_block_is_no_change_of_level():
    times = noisy([1.0] * 16)
    times[9] *= 1.5
    assert find_warmup(times) == 0


def test_levels_that_are_the_same_for_practical_purposes_are_steady():
    assert find_warmup([1.01] * 8 + [1.0] * 8) == 0


def test_a_series_that_still_changes_is_not_settled():
    assert not is_settled([4.0, 3.0, 2.5, 2.0, 1.7, 1.4, 1.2, 1.0])
    assert is_settled(noisy([2.0] * 3 + [1.0] * 9))


def test_short_series_have_no_warmup_and_start_at_0():
    assert find_warmup([2.0, 1.0]) == find_warmup([]) == 0
    assert find_change_points([1.0]) == [0]
