"""The promises of the verdict, held on a simulated machine whose truth is known."""

from __future__ import annotations

import pytest
from simulated_verdicts import measure_rates

RUNS = 60


@pytest.mark.slow
def test_equal_programs_are_not_called_different():
    rates = [measure_rates(100, spread=spread) for spread in (0.0, 0.005, 0.01, 0.02)]
    false = sum(r["faster"] + r["slower"] for r in rates) / len(rates)
    assert false <= 0.01
    assert min(r["equivalent"] for r in rates) > 0.9


@pytest.mark.parametrize(
    "effect, power, median_s", [(0.03, 0.8, 60), (0.05, 0.9, 30), (0.10, 0.99, 15)]
)
def test_planted_differences_are_found(effect, power, median_s):
    for spread in (0.005, 0.02):
        rates = measure_rates(RUNS, effect=effect, spread=spread)
        assert rates["slower"] >= power
        assert rates["median_s"] <= median_s


@pytest.mark.slow
def test_intervals_cover_the_truth_although_the_run_stops_by_what_it_sees():
    effects = (0.03, 0.05, 0.10)
    rates = [measure_rates(100, effect=e, spread=s) for e in effects for s in (0.0, 0.01)]
    coverage = sum(r["coverage"] for r in rates) / len(rates)
    assert 0.93 <= coverage <= 0.985  # the contender's scatter is never taken for small


@pytest.mark.slow
def test_a_noisy_machine_costs_power_and_no_errors():
    rates = measure_rates(200, noise=0.15, spread=0.01, budget_s=40)
    assert rates["faster"] + rates["slower"] <= 0.01
    assert rates["inconclusive"] > 0.5
