from __future__ import annotations

import numpy as np
import pytest

from oneflow_bench.bench.config import Measuring
from oneflow_bench.bench.verdict.estimate import Estimate, Wave, estimate_control, estimate_speedup
from oneflow_bench.bench.verdict.estimate import quickest_quarter as quickest
from oneflow_bench.bench.verdict.judge import (
    Interval,
    Margins,
    analysis_alpha,
    decide,
    is_analysis_due,
    judge,
    predict_growth,
    smallest_effect,
)
from oneflow_bench.bench.verdict.stopping import (
    START_FRESH,
    STOP,
    next_action,
)


def create_wave(
    effect=0.0, processes=3, rounds=8, noise=0.01, spread=0.0, control=0.0, seed=0, drift=0.05
):
    source = np.random.default_rng(seed)
    path = np.cumsum(source.normal(0, drift, rounds))

    def side(shift):
        own = source.normal(shift, spread, (processes, 1))
        return own + path + source.normal(0, noise, (processes, rounds))

    return Wave(side(0.0), side(effect), side(control))


def test_what_happens_to_all_processes_of_a_round_cancels():
    wave = create_wave(effect=np.log(1.1), noise=1e-9)
    estimate = estimate_speedup([wave], quickest)
    assert estimate.log_ratio == pytest.approx(-np.log(1.1), abs=1e-6)
    assert estimate.std_error < 1e-6


def test_the_spread_among_processes_is_in_the_standard_error_whatever_the_blocks():
    few = estimate_speedup([create_wave(spread=0.02, rounds=4, processes=40)], quickest)
    many = estimate_speedup([create_wave(spread=0.02, rounds=64, processes=40)], quickest)
    expected = 0.02 * np.sqrt(1.5 / 40)  # twice as many processes of the baseline's program
    assert few.std_error == pytest.approx(expected, rel=0.3)
    assert many.std_error == pytest.approx(expected, rel=0.3)
    assert many.within_share < few.within_share < 0.2


def test_the_controls_processes_are_the_baselines():
    source = np.random.default_rng(3)
    waves = [create_wave(control=0.1, processes=5, seed=int(source.integers(99))) for _ in range(2)]
    assert estimate_control(waves, quickest).log_ratio == pytest.approx(-0.1, abs=0.02)
    assert estimate_speedup(waves, quickest).log_ratio == pytest.approx(0.05, abs=0.02)  # of both


def test_a_contender_whose_processes_happen_to_lie_close_is_not_trusted_for_it():
    wave = create_wave(spread=0.02, noise=1e-6)
    wave.contender[:] = wave.contender.mean(axis=0)
    everyone = np.concatenate([wave.baseline, wave.control]).mean(axis=1).std(ddof=1)
    assert estimate_speedup([wave], quickest).std_error > 0.7 * everyone / np.sqrt(3)


def test_noise_within_processes_is_told_from_their_spread():
    assert estimate_speedup([create_wave(noise=0.05, processes=20)], quickest).within_share > 0.6


def test_degrees_of_freedom_are_those_of_the_processes():
    waves = [create_wave(spread=0.01, seed=seed) for seed in range(2)]
    assert 4 <= estimate_speedup(waves, quickest).df <= 12  # between the contender's own and all
    assert estimate_control(waves, quickest).df == 8
    singles = [create_wave(processes=1, spread=0.01, seed=seed) for seed in range(5)]
    assert estimate_speedup(singles, quickest).df == 4
    assert estimate_speedup(singles[:2], quickest).std_error is None
    assert estimate_speedup([create_wave(processes=2)], quickest).std_error is None


def test_no_waves_are_refused():
    with pytest.raises(ValueError, match="no waves"):
        judge([], 1)


def test_what_only_ever_takes_time_hardly_moves_the_ratio():
    wave = create_wave(effect=np.log(1.1), noise=0.005, rounds=32, drift=0.01)
    source = np.random.default_rng(5)
    for side in (wave.baseline, wave.contender, wave.control):
        disturbed = source.random(side.shape) < 0.3
        side[disturbed] += source.exponential(0.4, disturbed.sum())
    assert estimate_speedup([wave], quickest).log_ratio == pytest.approx(-np.log(1.1), abs=0.006)


def test_a_slow_state_of_the_machine_that_comes_and_goes_within_a_round_does_not_move_the_ratio():
    wave = create_wave(effect=np.log(1.05), noise=0.003, rounds=16, drift=0.01)
    source = np.random.default_rng(7)
    for side in (wave.baseline, wave.contender, wave.control):
        side += 0.4 * (source.random(side.shape) < 0.4)  # hits some processes of a round
    estimate = estimate_speedup([wave], quickest)
    assert estimate.log_ratio == pytest.approx(-np.log(1.05), abs=0.01)


def test_the_drift_of_the_machine_is_not_noise_within_a_process():
    wave = create_wave(noise=1e-4, spread=0.01, rounds=16)
    for side in (wave.baseline, wave.contender, wave.control):
        side[:, 8:] += 0.5
    assert estimate_speedup([wave], quickest).within_share < 0.01


def test_a_disturbance_that_lasts_for_some_blocks_counts_as_noise_within_a_process():
    wave = create_wave(noise=1e-3, processes=20, rounds=16, drift=0.0)
    late = np.random.default_rng(6).random(20) < 0.5
    wave.baseline[late, 2:] += 0.1  # two blocks before it, and a quarter is four
    assert estimate_speedup([wave], quickest).within_share > 0.5


@pytest.mark.parametrize(
    "low, high, sequential_low, sequential_high, verdict",
    [
        (1.02, 1.10, 1.001, 1.12, "faster"),
        (1.02, 1.10, 0.99, 1.13, "inconclusive"),
        (0.90, 0.98, 0.88, 0.999, "slower"),
        (0.99, 1.01, 0.98, 1.02, "equivalent"),
        (1.005, 1.10, 1.001, 1.2, "inconclusive"),
        (0.95, 1.05, 0.9, 1.1, "inconclusive"),
        (None, None, None, None, "inconclusive"),
    ],
)
def test_the_verdict_is_where_both_intervals_lie(
    low, high, sequential_low, sequential_high, verdict
):
    interval = Interval(
        ratio=1.0,
        low=low,
        high=high,
        sequential_low=sequential_low,
        sequential_high=sequential_high,
    )
    assert decide(interval, Margins())[0] == verdict


def test_margins_move_the_verdict():
    interval = Interval(ratio=1.05, low=1.03, high=1.07, sequential_low=1.02, sequential_high=1.08)
    assert decide(interval, Margins(margin=0.05))[0] == "inconclusive"
    assert decide(interval, Margins(margin=0.05, equivalence=0.1))[0] == "equivalent"


def test_a_control_that_differs_makes_the_verdict_inconclusive():
    wave = create_wave(effect=0.1, control=0.1)
    judgement = judge([wave], 1)
    assert judgement.verdict == "inconclusive" and judgement.control_verdict == "slower"
    assert judge([create_wave(effect=0.1)], 1).verdict == "slower"


def test_looks_are_paid_for():
    assert sum(analysis_alpha(j) for j in range(1, 1000)) == pytest.approx(0.01, rel=0.01)
    with pytest.raises(ValueError, match="numbered from 1"):
        analysis_alpha(0)
    wave = create_wave(effect=0.1)
    first, tenth = judge([wave], 1), judge([wave], 10)
    assert tenth.speedup.sequential_low < first.speedup.sequential_low
    assert tenth.speedup.low < first.speedup.low
    assert is_analysis_due(6, 4) and not is_analysis_due(5, 4)


def test_the_smallest_effect_shrinks_with_processes():
    def effect(processes):
        error = 0.02 / np.sqrt(processes)
        estimate = Estimate(0.0, error, 2.0 * processes, processes, 0.02, 0.1)
        return smallest_effect(estimate.std_error, estimate.df, 1, Margins())

    assert effect(3) > effect(12) > 0.01


def test_so_many_times_the_processes_show_the_effect():
    few = judge([create_wave(processes=3, noise=0.05, spread=0.03, seed=1)], 1)
    assert predict_growth(few, few.smallest_effect + 0.01) == 1
    for effect in (few.smallest_effect - 0.01, 0.1, 0.05):
        growth = predict_growth(few, effect)
        many = few.model_copy(
            update={"std_error": few.std_error / growth**0.5, "df": few.df * growth}
        )
        assert growth > 1 and predict_growth(many, effect) == 1
    assert predict_growth(few, 0.05) > predict_growth(few, 0.1)
    assert predict_growth(few, 0.01) is None  # the margin itself
    assert predict_growth(few.model_copy(update={"std_error": None}), 0.1) is None


def test_growth_is_predicted_by_the_margin_and_the_error_of_the_judgement():
    wave = create_wave(processes=3, noise=0.05, spread=0.03, seed=1)
    usual, wide, shared = (
        judge([wave], 1),
        judge([wave], 1, Margins(margin=0.04)),
        judge([wave], 1, alpha=0.01 / 50),
    )
    assert predict_growth(usual, 0.05) < predict_growth(wide, 0.05)
    assert predict_growth(wide, 0.04) is None and predict_growth(usual, 0.04) is not None
    assert predict_growth(usual, 0.1) < predict_growth(shared, 0.1)


def test_a_run_goes_on_with_fresh_processes_until_its_aims_are_met():
    open_ = judge([create_wave(effect=0.02, noise=1e-3, spread=0.03)], 1)
    assert open_.verdict == "inconclusive"
    assert next_action(open_, Measuring(replicates=9)) == START_FRESH
    assert next_action(open_, Measuring(replicates=3)) == STOP
    assert next_action(open_, Measuring(until=open_.smallest_effect + 0.01)) == STOP
    known = judge([create_wave(effect=0.1)], 1)
    assert next_action(known, Measuring(replicates=9)) == STOP
