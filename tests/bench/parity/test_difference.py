"""The judge's rules: simulated rounding passes, and no fault hides behind other values."""

from __future__ import annotations

import numpy as np
import pytest

from oneflow_bench.bench.parity.difference import measure_difference
from oneflow_bench.bench.parity.measures import list_groups
from oneflow_bench.bench.parity.result import GRADIENTS, LOSS_CURVE
from oneflow_bench.bench.parity.tensors import Entry

SOURCE = np.random.RandomState(7)
NOISES = {
    "normal": lambda n: SOURCE.randn(n),
    "student": lambda n: SOURCE.standard_t(5, n),
    "laplace": lambda n: SOURCE.laplace(size=n),
    "scale mixture": lambda n: SOURCE.randn(n) * np.exp(0.7 * SOURCE.randn(n)),
    "sparse": lambda n: SOURCE.randn(n) * np.where(SOURCE.rand(n) < 0.1, 1, 0.1),
}
VALUES = {
    "normal": lambda n: SOURCE.randn(n),
    "many magnitudes": lambda n: SOURCE.randn(n) * 10.0 ** SOURCE.uniform(-6, 3, n),
    "rectified": lambda n: np.maximum(SOURCE.randn(n), 0),
    "masked": lambda n: np.where(SOURCE.rand(n) < 0.5, -1e9, SOURCE.randn(n)),
    "two scales": lambda n: SOURCE.randn(n) * np.where(SOURCE.rand(n) < 0.2, 1.0, 1e-7),
}


def judge(r, eager, graph, runs=(), level=GRADIENTS):
    entry = Entry(level=level, name="t", kind="", shape=[len(r)], digest="")
    eager, graph, *runs = (np.asarray(side, np.float32) for side in (eager, graph, *runs))
    return measure_difference(entry, eager, graph, r, runs)


def simulate(values, noise, n, relative):
    """The reference, and four runs whose errors are of the values' size or, summed, of the bulk's.

    An error of the bulk's size is what a sum leaves that cancels to a small value.
    """
    r = VALUES[values](n)
    size = np.abs(r) if SOURCE.rand() < 0.5 else np.abs(r) + np.sqrt(np.mean(np.square(r)))
    return r, [r + relative * size * NOISES[noise](n) for _ in range(4)]


@pytest.mark.parametrize("trials", [20, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("values", VALUES)
def test_simulated_rounding_is_never_a_difference(values, trials):
    for noise in NOISES:
        for number in range(trials):
            n = int(10 ** SOURCE.uniform(0, 4))
            r, (eager, graph, *runs) = simulate(values, noise, n, 10.0 ** SOURCE.uniform(-7, -3))
            found = judge(r, eager, graph, runs, LOSS_CURVE if number % 3 == 0 else GRADIENTS)
            assert found.verdict == "equal within rounding", (noise, n, found)


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
def test_simulated_rounding_of_a_large_tensor_is_no_difference(noise):
    r, (eager, graph, *runs) = simulate("many magnitudes", noise, 1_000_000, 1e-6)
    assert judge(r, eager, graph, runs).verdict == "equal within rounding"


def plant(r, where, change):
    """A graph whose values at `where` are changed, with rounding errors of 1e-7 everywhere."""
    eager, graph, *runs = (r * (1 + 1e-7 * SOURCE.randn(*r.shape)) for _ in range(4))
    graph[where] = change(graph[where])
    return judge(r.ravel(), eager.ravel(), graph.ravel(), [run.ravel() for run in runs])


def masked(n):
    r = SOURCE.randn(n)
    r[n // 4 :] = -1e9
    return r


ROWS = SOURCE.randn(2000, 64) * np.where(np.arange(2000) == 0, 1e8, 1)[:, None]
FAULTS = {
    "masked logits": (masked(400), slice(0, 100), lambda v: -3 * v, "elements near"),
    "few logits beside masked ones": (masked(12), slice(0, 3), lambda v: -3 * v, "elements near"),
    "one row of an embedding": (ROWS, 77, lambda v: v * 1.001, "64|elements near"),
    "one element of a large bias": (SOURCE.randn(300_000), 5, lambda v: v + 1e-4, "one of 3"),
    "a small group": (masked(4000)[::-1] + 1e6, slice(3000, None), lambda v: 1.001 * v, ""),
    "a common factor": (SOURCE.randn(30_000), slice(None), lambda v: v * (1 + 1.5e-6), ""),
    "zeros": (np.maximum(SOURCE.randn(5000), 0), slice(0, 9), lambda v: v + 1e-4, ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_does_not_hide(fault):
    r, where, change, note = FAULTS[fault]
    found = plant(r, where, change)
    assert found.verdict == "different" and found.error_ratio > 1
    assert found.note is None or any(part in found.note for part in note.split("|"))
    assert plant(r, where, lambda v: v).verdict == "equal within rounding"


def test_a_factor_below_the_noise_is_told_from_noise():
    r = SOURCE.randn(36_864)
    eager, *runs = (r + 1e-4 * SOURCE.randn(r.size) for _ in range(3))
    found = judge(r, eager, eager * (1 + 1e-4), runs)
    assert found.verdict == "different" and "factor of 1 +1.00e-04" in found.note
    noisy = judge(r, eager, eager + 1e-4 * SOURCE.randn(r.size), runs)
    assert noisy.verdict == "equal within rounding"
    moved = [run * (1 + 5e-5) for run in runs]  # a clipped norm moves all alike
    assert judge(r, eager, eager * (1 + 1e-4), moved).verdict == "equal within rounding"


def test_groups_are_of_one_magnitude_and_hold_every_element_once():
    for values in VALUES:
        r = VALUES[values](3000)
        masks = list_groups(r)
        assert np.array_equal(np.sum(masks, axis=0), np.ones(3000))
    big, small = list_groups(np.array([1e6, 0.0, -1.0, 2.0]))
    assert list(np.flatnonzero(big)) == [0] and list(np.flatnonzero(small)) == [1, 2, 3]
    assert list_groups(np.zeros(3)) == [] and len(list_groups(SOURCE.randn(9))) == 1


@pytest.mark.parametrize("one, other", [(np.inf, -np.inf), (np.inf, 1.0), (np.nan, np.inf)])
def test_values_that_are_not_finite_are_compared_exactly(one, other):
    r = SOURCE.randn(50)
    eager = r.astype(np.float32)
    eager[3] = graph_value = one
    graph = eager.copy()
    assert judge(r, eager, graph).verdict == "equal within rounding"
    graph[3] = other
    found = judge(r, eager, graph)
    assert graph_value is one and found.verdict == "different"
    assert "1 elements are not finite" in found.note


def test_a_reference_that_is_not_finite_hides_nothing():
    r = SOURCE.randn(50)
    eager = r.astype(np.float32)
    graph = eager.copy()
    graph[3] *= 2
    r[3] = np.nan
    assert judge(r, eager, graph).verdict == "different"


def test_tiny_values_differ_by_a_denormal_within_rounding():
    r = SOURCE.randn(50) * 1e-41
    assert judge(r, r, np.zeros(50)).verdict == "equal within rounding"
