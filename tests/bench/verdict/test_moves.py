from __future__ import annotations

import pytest

from oneflow_bench.verdict.moves import (
    FRESH,
    LONGER,
    STOP,
    choose_first_double_rounds,
    combine_moves,
)


@pytest.mark.parametrize(
    "moves, expected",
    [
        ([STOP], STOP),
        ([STOP, STOP], STOP),
        ([STOP, LONGER], LONGER),
        ([LONGER, FRESH, STOP], FRESH),
        ([STOP, FRESH], FRESH),
    ],
)
def test_a_run_goes_on_until_all_contenders_may_stop(moves, expected):
    assert combine_moves(moves) == expected


@pytest.mark.parametrize("double_round_s, expected", [(0.1, 8), (2.0, 6), (30.0, 4), (0.0, 8)])
def test_the_first_look_comes_after_some_seconds_of_measuring(double_round_s, expected):
    assert choose_first_double_rounds(double_round_s) == expected
