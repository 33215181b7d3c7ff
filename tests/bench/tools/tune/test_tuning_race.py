from __future__ import annotations

import numpy as np
import pytest
from simulated_races import (
    EQUAL,
    PROCESS_S,
    STOCK,
    SimulatedRunner,
    create_contest,
    enter,
    has_dropped_best,
    has_false_winner,
    measure_rates,
    race,
)

from oneflow_bench.bench.tools.tune.heat import CRASHED, Failure
from oneflow_bench.bench.tools.tune.race import (
    FEWEST_HEATS,
    MOST_ROUNDS,
    Heat,
    Standing,
    choose_double_rounds,
    choose_field,
    choose_kept,
    count_affordable,
    estimate_programs,
    find_beaten,
    hodges_lehmann,
    is_gross,
    judge_field,
)
from oneflow_bench.bench.tools.tune.result import NOT_TRIED
from oneflow_bench.bench.verdict.judge import Interval


def make_heat(*programs, effects=None, error=0.0, seed=0):
    source = np.random.default_rng(seed)
    own = np.array([[-np.log((effects or {}).get(p, 1.0))] for p in programs])
    own = own + source.normal(0, error, own.shape)
    return Heat(tuple(programs), own + source.normal(0, 0.3, (1, 4)))


def test_ratios_are_exact_where_nothing_is_noisy():
    heats = [
        make_heat(STOCK, STOCK, "a", "b", effects={"a": 2.0, "b": 0.5}, seed=s) for s in (1, 2)
    ]
    found = estimate_programs(heats, STOCK)
    assert np.exp(found["a"].log_ratio) == pytest.approx(2.0)
    assert np.exp(found["b"].log_ratio) == pytest.approx(0.5)
    assert found["a"].replicates == 2


def test_a_program_that_never_met_the_base_is_compared_through_others():
    effects = {"a": 2.0, "b": 3.0}
    heats = [
        make_heat(STOCK, STOCK, "a", effects=effects, seed=1),
        make_heat("a", "a", "b", effects=effects, seed=2),
    ]
    assert np.exp(estimate_programs(heats, STOCK)["b"].log_ratio) == pytest.approx(3.0)
    assert np.exp(estimate_programs(heats, "b")["a"].log_ratio) == pytest.approx(2 / 3)


def test_a_program_without_any_link_to_the_base_is_left_out():
    heats = [make_heat(STOCK, STOCK, "a", seed=1), make_heat("b", "b", seed=2)]
    assert set(estimate_programs(heats, STOCK)) == {"a"}
    with pytest.raises(ValueError, match="has run in no heat"):
        estimate_programs(heats, "c")


def test_one_heat_is_too_little_for_an_interval():
    standing = judge_field([make_heat(STOCK, STOCK, "a", "b")], STOCK, ["a"], 1, 2)["a"]
    assert standing.verdict == "inconclusive" and standing.interval.low is None
    assert "--budget" in standing.reason


def test_standard_errors_are_those_of_the_design():
    """Two base processes and one candidate in two heats: a variance of 3/4 sigma^2."""
    sigma, found = 0.01, []
    for seed in range(400):
        heats = [
            make_heat(STOCK, STOCK, "a", "b", "c", error=sigma, seed=1000 * seed + k)
            for k in (1, 2)
        ]
        found.append(estimate_programs(heats, STOCK)["a"])
    assert np.std([e.log_ratio for e in found]) == pytest.approx(sigma * np.sqrt(0.75), rel=0.1)
    mean_square = np.mean([e.std_error**2 for e in found])
    assert np.sqrt(mean_square) == pytest.approx(sigma * np.sqrt(0.75), rel=0.1)
    assert found[0].df == 10 - (3 + 2)  # processes less programs and heats


def test_more_comparisons_and_more_looks_make_the_strict_interval_wider():
    heats = [make_heat(STOCK, STOCK, "a", "b", "c", error=0.01, seed=s) for s in (1, 2)]
    widths = [
        judge_field(heats, STOCK, ["a"], looks, comparisons)["a"].interval
        for looks, comparisons in ((1, 1), (1, 20), (3, 20))
    ]
    spans = [interval.strict_high - interval.strict_low for interval in widths]
    assert spans == sorted(spans) and spans[0] < spans[2]
    assert widths[0].low == widths[1].low  # the reported interval is each candidate's own


@pytest.mark.parametrize("seed", range(20))
def test_the_planted_setting_wins_and_the_slow_are_out_early(seed):
    speedups = {**{name: 1.0 for name in EQUAL[:8]}, "fast": 1.10, "slow": 0.9, "slower": 0.7}
    outcomes, runner = race(speedups, seed=seed)
    assert outcomes["fast"].verdict == "faster"
    assert outcomes["fast"].interval.low > 1.01
    assert outcomes["slower"].verdict == "slower" and outcomes["slower"].heats <= 2
    assert outcomes["slow"].verdict == "slower" and outcomes["slow"].heats <= 3
    assert all(outcomes[name].verdict != "faster" for name in EQUAL[:8])
    assert len(runner.fields[-1]) < len(runner.fields[0])


def test_the_best_is_hardly_ever_dropped():
    speedups = {**dict.fromkeys(EQUAL[:6], 1.0), "fast": 1.04, "faster": 1.05}
    assert measure_rates(150, speedups, has_dropped_best)["wrong"] <= 0.02


def test_equal_candidates_are_hardly_ever_called_different():
    """At most 1 % of the races may call any of their equal candidates faster or slower."""
    assert measure_rates(300, dict.fromkeys(EQUAL, 1.0), has_false_winner)["wrong"] <= 0.01


def test_one_program_with_a_scatter_of_its_own_is_seldom_called_different():
    """The scatter is pooled, so here the race is at its weakest; confirmations do not pool."""
    machine = {"spreads": {EQUAL[0]: 0.03}}
    rates = measure_rates(100, dict.fromkeys(EQUAL, 1.0), has_false_winner, **machine)
    assert rates["wrong"] <= 0.1


def test_a_rival_of_the_same_variable_that_is_surely_slower_is_out():
    speedups = {"Haswell": 1.5, "Zen": 1.02, **{name: 1.0 for name in EQUAL[:4]}}
    families = {"Haswell": "core", "Zen": "core"}
    outcomes, _ = race(speedups, families=families, spread=0.005, noise=0.01)
    assert outcomes["Haswell"].verdict == "faster"
    assert outcomes["Zen"].verdict == "slower" and outcomes["Zen"].reason == "slower than Haswell"


def test_beaten_needs_a_rival_that_has_run():
    heats = [make_heat(STOCK, STOCK, "a", seed=1)]
    assert find_beaten(heats, ["a"], ["a", "b"], 1, 2) == {}


def test_a_crash_is_an_outcome_and_ends_nothing():
    failure = Failure(CRASHED, "it died")
    outcomes, runner = race({"bad": 1.0, "fast": 1.2}, failures={"bad": failure})
    assert outcomes["bad"][:3] == (CRASHED, "it died", None)
    assert outcomes["fast"].verdict == "faster"
    assert sum("bad" in field for field in runner.fields) == 1


def test_who_waits_takes_the_places_of_who_left():
    speedups = {**{f"slow-{n}": 0.6 for n in range(6)}, "last": 1.2}
    outcomes, runner = race(speedups, places=3)
    assert [len(field) for field in runner.fields[:2]] == [3, 3]
    assert outcomes["last"].verdict == "faster"


def test_time_that_runs_out_leaves_the_rest_untried_and_says_so():
    outcomes, runner = race({name: 1.0 for name in EQUAL}, seconds=20.0)
    tried = [name for name in EQUAL if outcomes[name].verdict != NOT_TRIED]
    assert 0 < len(tried) < len(EQUAL)
    assert tried == EQUAL[: len(tried)]
    assert "--budget" in outcomes[EQUAL[-1]].reason
    assert runner.now <= 20.0
    assert all(outcomes[name].heats >= FEWEST_HEATS for name in tried)


def test_the_time_that_parity_took_is_not_taken_for_that_of_processes():
    runner = SimulatedRunner({"a": 1.0, "b": 1.0}, spread=0.005)
    run = runner.run

    def run_with_parity(*arguments):
        result = run(*arguments)
        return result._replace(duration_s=result.duration_s + 50.0, screen_s=50.0)

    runner.run = run_with_parity
    contest = create_contest(runner)
    contest.race(enter(STOCK), [enter("a"), enter("b")], {}, 300.0, most_heats=1)
    assert contest.process_s == pytest.approx(PROCESS_S)


def test_no_time_at_all_runs_no_heat():
    outcomes, runner = race({"a": 1.0}, seconds=1.0)
    assert outcomes["a"].verdict == NOT_TRIED and runner.fields == []


def test_heats_of_one_race_are_used_in_the_next():
    runner = SimulatedRunner({"a": 1.2, "b": 1.1, "a b": 1.32}, spread=0.005)
    contest = create_contest(runner)
    contest.race(enter(STOCK), [enter("a"), enter("b")], {}, 100.0)
    contest.race(enter("a b"), [enter("a"), enter("b")], {}, 200.0)
    over_stock = contest.compare(STOCK, ["a b"], 1, 1)["a b"].interval
    assert over_stock.low < 1.32 < over_stock.high


@pytest.mark.parametrize(
    "left_s, process_s, begun, waiting, expected",
    [
        (100, 1, 0, 10, 10),
        (24, 1, 0, 20, 10),  # two heats of 10 + 2 processes
        (6, 1, 0, 20, 1),
        (5, 1, 0, 20, 3),  # not two heats: one, which shows who looks best
        (2.5, 1, 0, 20, 0),
        (12, 1, 10, 5, 10),  # one heat more for those who have begun
        (8, 1, 10, 0, 6),
        (0, 1, 5, 5, 0),
        (-3, 1, 5, 5, 0),
    ],
)
def test_places_follow_the_time(left_s, process_s, begun, waiting, expected):
    assert count_affordable(left_s, process_s, begun, waiting) == expected


def test_who_has_begun_comes_first():
    assert choose_field(["b"], ["c", "d"], 2) == ["b", "c"]
    assert choose_field(["b"], ["c"], 0) == []


def test_heats_measure_about_as_long_as_they_start():
    assert choose_double_rounds(2.0, 0.5) == 4
    assert choose_double_rounds(2.0, 30.0) == 1
    assert choose_double_rounds(20.0, 0.1) == MOST_ROUNDS


def test_gross():
    assert is_gross([1.0, 1.1], [3.4, 3.5])
    assert not is_gross([1.0, 1.1], [3.2, 9.0]) and not is_gross([1.0, 1.2], [3.5, 3.5])


def standing(verdict):
    interval = Interval(ratio=1.0, low=None, high=None, strict_low=None, strict_high=None)
    return Standing(interval, verdict, "")


def test_a_setting_stays_where_it_is_missed_or_where_it_won_alone():
    left_out = {
        "missed": standing("slower"),
        "unsure": standing("inconclusive"),
        "likely": standing("inconclusive"),
        "idle": standing("equivalent"),
        "harmful": standing("faster"),
    }
    kept, dropped = choose_kept(left_out, ["missed", "unsure", "idle", "harmful"])
    assert kept == ["missed", "unsure"]
    assert set(dropped) == {"likely", "idle", "harmful"}
    assert "as fast without" in dropped["idle"] and "faster without" in dropped["harmful"]


def test_hodges_lehmann_ignores_one_wild_value():
    assert hodges_lehmann(np.array([1.0, 1.1, 0.9, 1.0, 9.0])) == pytest.approx(1.05, abs=0.06)
    assert hodges_lehmann(np.array([1.0, 2.0])) == 1.5
