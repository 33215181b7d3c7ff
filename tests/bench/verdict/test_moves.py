from __future__ import annotations

import pytest

from oneflow_bench.verdict.moves import FRESH, LONGER, STOP, combine_moves


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
