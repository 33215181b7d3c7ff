from __future__ import annotations

import pytest

from oneflow_bench.bench.tools.profile.worker import (
    FEWEST_REPEATS,
    MOST_REPEATS,
    matmul_flops,
    measure_copy,
    measure_numpy_matmul,
    repeat_timed,
)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def repeated(duration_of):
    """(durations measured, runs in all) where the n-th run takes `duration_of(n)` seconds."""
    clock, runs = Clock(), []

    def run():
        clock.now += duration_of(len(runs))
        runs.append(clock.now)

    return repeat_timed(run, clock), len(runs)


def test_a_slow_run_is_repeated_the_fewest_times_and_its_warm_up_is_dropped():
    durations, runs = repeated(lambda n: 9.0 if n < 2 else 3.0)
    assert durations == [3.0] * FEWEST_REPEATS
    assert runs == 2 + FEWEST_REPEATS


def test_a_quick_run_warms_up_by_time_and_has_an_end():
    durations, runs = repeated(lambda n: 1e-2)
    assert durations == pytest.approx([1e-2] * MOST_REPEATS)
    assert runs >= 20 + MOST_REPEATS


def test_rates_are_of_the_work_done():
    assert matmul_flops(3) == 54  # 9 outputs of 3 multiply-adds
    for rates in (measure_numpy_matmul(32), measure_copy(2**16, 2)):
        assert FEWEST_REPEATS <= len(rates) <= MOST_REPEATS
        assert all(1e5 < rate < 1e14 for rate in rates)
