from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from oneflow_bench.bench.verdict.change_points import LevelChange, find_changes

PROGRAM = Path(__file__).resolve().parents[3] / "benchmarks" / "change_points.py"


@pytest.fixture(scope="module")
def simulation():
    """The program whose tables stand in results/simulations."""
    spec = importlib.util.spec_from_file_location("change_points", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def noisy(levels, sigma=0.01, seed=0):
    source = np.random.RandomState(seed)
    return [level * float(np.exp(source.normal(0, sigma))) for level in levels]


def test_one_change_is_found_where_it_is_with_both_levels():
    (change,) = find_changes(noisy([100] * 8 + [110] * 8), 0.02, True)
    assert change.index == 8
    assert change.before == pytest.approx(100, rel=0.01)
    assert change.after == pytest.approx(110, rel=0.01)


def test_a_way_up_and_back_again_is_two_changes():
    changes = find_changes(noisy([100] * 8 + [120] * 4 + [100] * 8), 0.02, True)
    assert [change.index for change in changes] == [8, 12]


@pytest.mark.parametrize("disturbed", [1, 2])
def test_single_disturbed_runs_are_no_change(disturbed):
    values = noisy([100] * 20)
    values[10 : 10 + disturbed] = [140] * disturbed
    assert find_changes(values, 0.02, True) == []


@pytest.mark.parametrize("length", range(6))
def test_a_series_too_short_to_tell_has_none(length):
    assert find_changes([1.0, 2.0, 4.0, 8.0, 16.0][:length], 0.02, True) == []


def test_steps_below_the_smallest_that_counts_are_left_out():
    exact = [100.0] * 10 + [101.0] * 10
    assert find_changes(exact, 0.02, True) == []
    assert find_changes(exact, 0.005, True) == [LevelChange(10, 100.0, 101.0)]


def test_values_that_are_all_equal_and_values_around_zero_are_handled():
    assert find_changes([5.0] * 12, 0.02, True) == []
    (change,) = find_changes([0.0] * 6 + [0.5] * 6, 0.01, False)
    assert change == LevelChange(6, 0.0, 0.5)


def test_a_change_of_unit_changes_nothing_but_the_levels():
    values = noisy([100] * 8 + [110] * 8)
    in_seconds = find_changes([value / 1000 for value in values], 0.02, True)
    assert [change.index for change in in_seconds] == [8]


@pytest.mark.parametrize("bad, relative", [(float("nan"), False), (0.0, True), (-1.0, True)])
def test_a_value_that_is_no_level_is_refused(bad, relative):
    with pytest.raises(ValueError, match="leave it out"):
        find_changes([1.0] * 6 + [bad], 0.02, relative)


@pytest.mark.parametrize("kind, most", [("independent", 0.03), ("bursts", 0.03), ("drift", 0.1)])
@pytest.mark.parametrize("length", [6, 20])
def test_false_alarms_are_rare(simulation, kind, most, length):
    assert simulation.measure_false_alarms(length, kind, 150) <= most


@pytest.mark.parametrize(
    "length, step, least", [(6, 0.2, 0.7), (10, 0.2, 0.95), (20, 0.1, 0.8), (20, 0.2, 0.98)]
)
def test_changes_are_found(simulation, length, step, least):
    assert simulation.measure_detection(length, "independent", step, 100) >= least


def test_the_stored_rates_are_those_the_program_prints(simulation):
    """One cell of each table, at the program's own count."""
    page = (PROGRAM.parents[1] / "results" / "simulations" / "README.md").read_text()
    alarms = simulation.measure_false_alarms(6, "independent", 1000) * 100
    assert f"| independent | {alarms:.1f} % |" in page
    found = simulation.measure_detection(6, "independent", 0.2, 1000) * 100
    assert f"| +20 %, independent | {found:.0f} % |" in page
