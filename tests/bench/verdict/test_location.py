from __future__ import annotations

import numpy as np
import pytest
from simulated_verdicts import Machine, measure_rates

from oneflow_bench.bench.verdict.estimate import (
    MEDIAN,
    QUICKEST_QUARTER,
    Wave,
    estimate_control,
    estimate_speedup,
    mean,
    median,
    quickest_quarter,
)
from oneflow_bench.bench.verdict.judge import FASTER, INCONCLUSIVE, SLOWER, judge


def measure(processes=3, rounds=16, seed=0, **machine):
    machine = Machine(seed=seed, **machine)
    return Wave(*machine.measure(machine.start(processes), rounds // 2))


def test_a_process_stands_at_the_mean_of_its_quickest_quarter():
    assert quickest_quarter(np.array([[4.0, 1.0, 9.0, 2.0, 8.0, 7.0, 6.0, 5.0]])) == [1.5]
    assert quickest_quarter(np.array([3.0, 2.0])) == 2.0  # one block at least


def test_or_at_the_median_of_its_blocks_or_their_mean():
    values = np.array([[4.0, 1.0, 9.0, 2.0], [1.0, 1.0, 1.0, 5.0]])
    assert median(values).tolist() == [3.0, 1.0]
    assert mean(values).tolist() == [4.0, 2.0]


def test_beside_other_work_processes_are_located_by_their_quickest_blocks():
    chosen = [judge([measure(busy=0.4, seed=seed)], 1).location for seed in range(20)]
    assert chosen.count(QUICKEST_QUARTER) >= 16


def test_a_program_whose_own_steps_vary_is_located_by_its_median():
    chosen = [judge([measure(lucky=0.1, seed=seed)], 1).location for seed in range(20)]
    assert chosen.count(MEDIAN) >= 16


def test_without_an_interval_the_quickest_blocks_are_taken():
    assert judge([measure(processes=1, lucky=0.1)], 1).location == QUICKEST_QUARTER


def test_the_control_is_located_as_the_speedup_is():
    wave = measure(lucky=0.1, spread=0.01)
    judgement = judge([wave], 1)
    assert judgement.location == MEDIAN
    assert judgement.speedup.ratio == pytest.approx(
        np.exp(estimate_speedup([wave], median).log_ratio)
    )
    assert judgement.control.ratio == pytest.approx(
        np.exp(estimate_control([wave], median).log_ratio)
    )


def test_quick_blocks_that_are_certain_to_be_the_programs_own_do_not_stand_for_it():
    """A third of the contender's blocks are quicker, all by the same: no scatter tells of it."""
    wave = measure(rounds=40, noise=0.002, spread=0.001, burst_chance=0.0, drift=0.001)
    contender = wave.contender.copy()
    contender[:, ::3] -= 0.14
    contender[:, 1::3] += 0.004 * np.arange(3)[:, None]  # so that the medians scatter more
    contender[:, 2::3] += 0.004 * np.arange(3)[:, None]
    wave = Wave(wave.baseline, contender, wave.control)
    assert (
        estimate_speedup([wave], quickest_quarter).std_error
        < estimate_speedup([wave], median).std_error
    )
    judgement = judge([wave], 1)
    assert judgement.location == MEDIAN and judgement.verdict != FASTER


def test_what_the_typical_block_does_not_show_is_not_called():
    """Other work hides that the contender is no faster but for some of its blocks."""
    wave = measure(rounds=16, noise=0.001, spread=0.001, burst_chance=0.0, drift=0.001)
    values = [side.copy() for side in (wave.baseline, wave.contender, wave.control)]
    values[1][:, :4] -= 0.05
    for side in values:
        side[:, 7:] += 0.3 * np.random.default_rng(1).random(side[:, 7:].shape)
    judgement = judge([Wave(*values)], 1)
    assert judgement.location == QUICKEST_QUARTER
    assert judgement.speedup.low > 1.03 and judgement.speedup.strict_low > 1
    assert judgement.verdict == INCONCLUSIVE
    assert "the fastest blocks say faster, but the ratio of the medians" in judgement.reason


def test_luck_of_the_contender_is_seldom_called_and_hides_no_difference():
    even = measure_rates(100, lucky=0.05, spread=0.005)
    assert even[FASTER] + even[SLOWER] <= 0.03
    slower = measure_rates(100, lucky=0.05, spread=0.005, effect=0.05)
    assert slower[SLOWER] >= 0.95 and slower[FASTER] == 0
