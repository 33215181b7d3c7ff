from __future__ import annotations

import pytest

from oneflow_bench.bench.verdict.stopping import choose_first_abba_pairs


@pytest.mark.parametrize("abba_pair_s, expected", [(0.1, 8), (2.0, 6), (30.0, 4), (0.0, 8)])
def test_the_first_look_comes_after_some_seconds_of_measuring(abba_pair_s, expected):
    assert choose_first_abba_pairs(abba_pair_s) == expected


@pytest.mark.parametrize(
    "replicates, left_s, expected",
    [
        (2, 400.0, 2),  # 150 s for each of two waves; the second takes 100 s to start
        (1, 400.0, 1),  # 67 s for each of three
        (2, 3000.0, 4),  # there is time for all
        (2, 150.0, 4),  # there is none for a second wave: the first has it all
        (3, 150.0, 4),  # one wave is enough
    ],
)
def test_a_first_wave_too_small_for_an_interval_leaves_time_for_the_next(
    replicates, left_s, expected
):
    assert choose_first_abba_pairs(60.0, replicates, left_s, start_s=100.0) == expected
