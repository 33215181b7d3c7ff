"""The judge on made-up observations: what is identical, rounding, different, and why."""

from __future__ import annotations

import numpy as np
import pytest

from oneflow_bench.bench.parity.judge import Comparison, KnownDifference
from oneflow_bench.bench.parity.result import (
    BATCHES,
    FIRST_UPDATE,
    FORWARD,
    GRADIENTS,
    INITIAL_WEIGHTS,
    LOSS_CURVE,
)
from oneflow_bench.bench.parity.tensors import Entry, Observer

SOURCE = np.random.RandomState(0)
TRUTH = SOURCE.randn(400)
COUNTER = KnownDifference(
    id="counter",
    kind="buffer",
    name="*.counter",
    levels=[FIRST_UPDATE],
    oneflow=["0.9.0"],
    reason="because",
    link="docs",
)


def rounded(relative_error, seed):
    noise = np.random.RandomState(seed).randn(*TRUTH.shape)
    return (TRUTH * (1 + relative_error * noise)).astype(np.float32)


class Sides:
    """Values by (level, name) for each side; judged as a check would."""

    def __init__(self, folder):
        self._folder = folder
        self._sides = {}

    def add(self, level, name, kind="Conv2d", **values):
        for side, value in values.items():
            self._sides.setdefault(side, []).append((level, name, kind, value))

    def judge(self, perturbed=(), known=()):
        entries = {}
        for side, tensors in self._sides.items():
            observer = Observer({level: [n for _, n, _, _ in tensors] for level, *_ in tensors})
            for tensor in tensors:
                observer.add(*tensor)
            observer.write(self._folder / side)
            entries[side] = observer.take()
        evidence = [self._folder / side for side in ("eager", "graph", "reference", *perturbed)]
        comparison = Comparison(entries["eager"], entries["graph"], "0.9.0", known)
        comparison.judge(evidence)
        return comparison.levels


@pytest.fixture
def sides(tmp_path):
    return Sides(tmp_path)


def test_equal_digests_need_no_values():
    entry = Entry(level=FORWARD, name="a", kind="Conv2d", shape=[2], digest="d")
    comparison = Comparison([entry], [entry], "0.9.0", [])
    comparison.judge()
    (level,) = comparison.levels
    assert (level.verdict, level.identical, level.worst) == ("identical", 1, None)


def test_errors_of_one_size_are_rounding(sides):
    sides.add(FORWARD, "a", eager=rounded(1e-7, 1), graph=rounded(1e-7, 2), reference=TRUTH)
    (level,) = sides.judge()
    assert level.verdict == "equal within rounding" and level.first_different is None
    assert level.first_inexact == "a" and 0 < level.worst.error_ratio < 1
    assert level.worst.eager_error == pytest.approx(1e-7, rel=0.3)
    assert level.worst.cosine == pytest.approx(1, abs=1e-9) and level.worst.max_ulp >= 1


@pytest.mark.parametrize("error", [1e-5, 1e-3, 0.5])
def test_an_error_above_eagers_own_is_a_difference(sides, error):
    sides.add(FORWARD, "a", eager=rounded(1e-7, 1), graph=rounded(error, 2), reference=TRUTH)
    (level,) = sides.judge()
    found = level.first_different
    assert level.verdict == "different" and found.error_ratio > 1
    at = found.largest_at[0]
    assert found.eager_value == rounded(1e-7, 1)[at] and found.reference_value == TRUTH[at]
    assert found.graph_value == rounded(error, 2)[at]


def test_the_first_different_tensor_is_named_and_the_worst(sides):
    for number, error in enumerate([0, 1e-7, 1e-4, 1e-2, 1e-3]):
        eager = rounded(1e-7, 10 + number)
        graph = eager if error == 0 else rounded(error, 20 + number)
        sides.add(FORWARD, f"layer{number}", eager=eager, graph=graph, reference=TRUTH)
    (level,) = sides.judge()
    assert (level.identical, level.within_rounding, level.different) == (1, 1, 3)
    assert level.first_inexact == "layer1"
    assert level.first_different.name == "layer2" and level.worst.name == "layer3"
    assert "layer2 differs" in level.reason and "2 of the other 4" in level.reason


def test_perturbed_runs_widen_the_explained_error(sides):
    eager = rounded(1e-7, 1)
    moved = (eager + 1e-4 * SOURCE.randn(400)).astype(np.float32)
    graph = (eager + 1e-4 * SOURCE.randn(400)).astype(np.float32)
    sides.add(FORWARD, "a", eager=eager, graph=graph, reference=TRUTH, perturbed=moved)
    assert sides.judge()[0].verdict == "different"
    assert sides.judge(perturbed=["perturbed"])[0].verdict == "equal within rounding"


def test_a_few_units_in_the_last_place_are_rounding_where_eager_is_exact(sides):
    exact = np.array([2.0], np.float32)
    near = np.nextafter(exact, np.float32(3))
    sides.add(FORWARD, "a", eager=exact, graph=near, reference=exact.astype(np.float64))
    far = exact * np.float32(1 + 1e-5)
    sides.add(FORWARD, "b", eager=exact, graph=far, reference=exact.astype(np.float64))
    (level,) = sides.judge()
    assert level.first_different.name == "b" and level.within_rounding == 1


def test_weights_and_batches_allow_no_rounding(sides):
    eager = rounded(1e-7, 1)
    graph = eager.copy()
    graph[7] = np.nextafter(graph[7], np.float32(9))
    sides.add(INITIAL_WEIGHTS, "w", "parameter", eager=eager, graph=graph, reference=TRUTH)
    sides.add(BATCHES, "step 1 images", "images", eager=eager, graph=graph, reference=TRUTH)
    weights, batches = sides.judge()
    assert weights.verdict == "different" and weights.first_different.max_ulp == 1
    assert weights.first_different.largest_at == [7]
    assert batches.verdict == "different" and "other bits" in batches.first_different.note


def test_what_one_mode_lacks_is_different(sides):
    value = rounded(0, 0)
    sides.add(GRADIENTS, "frozen", "gradient", eager=value, graph=None, reference=TRUTH)
    sides.add(GRADIENTS, "thawed", "gradient", eager=None, graph=value, reference=TRUTH)
    sides.add(GRADIENTS, "cut", "gradient", eager=value, graph=value[:3], reference=TRUTH)
    sides.add(GRADIENTS, "only eager", "gradient", eager=value, reference=TRUTH)
    sides.add(GRADIENTS, "only graph", "gradient", graph=value)
    (level,) = sides.judge()
    assert level.different == 5 and "missing in graph mode" in level.reason
    assert level.worst.error_ratio is None


def test_integers_that_differ_are_different_unless_known(sides):
    eager, graph = np.array(1), np.array(0)
    sides.add(FIRST_UPDATE, "bn.counter", "buffer", eager=eager, graph=graph, reference=eager)
    (level,) = sides.judge()
    assert level.verdict == "different"
    (level,) = sides.judge(known=[COUNTER])
    assert (level.verdict, level.known, level.different) == ("identical", 1, 0)
    assert "known" in level.reason


def test_values_that_are_not_finite(sides):
    eager, graph = rounded(1e-7, 1), rounded(1e-7, 2)
    eager[3] = graph[3] = np.inf
    sides.add(FORWARD, "both", eager=eager, graph=graph, reference=TRUTH)
    graph = graph.copy()
    graph[5] = np.nan
    sides.add(FORWARD, "one", eager=eager, graph=graph, reference=TRUTH)
    (level,) = sides.judge()
    assert level.first_different.name == "one" and level.within_rounding == 1
    assert "1 elements are not finite and not the same" in level.reason


def test_more_runs_are_asked_for_the_tensors_that_differ_alone(tmp_path):
    def entry(name, digest, level=FORWARD, kind="Conv2d"):
        return Entry(level=level, name=name, kind=kind, shape=[1], digest=digest)

    eager = [entry("a", "1"), entry("b", "2"), entry("x.counter", "3", FIRST_UPDATE, "buffer")]
    graph = [entry("a", "1"), entry("b", "0"), entry("x.counter", "0", FIRST_UPDATE, "buffer")]
    asked = []

    def run(names, wanted):
        asked.append((names, wanted))
        return [eager, graph, eager]

    comparison = Comparison(eager, graph, "0.9.0", [COUNTER])
    comparison.settle(run, tmp_path)
    assert asked == [(["eager-again", "graph-again", "reference"], {FORWARD: ["b"]})]
    assert comparison.reproducible is True
    same = Comparison(eager, eager, "0.9.0", [COUNTER])
    assert same.settle(run, tmp_path) is None and same.reproducible is None
    assert len(asked) == 1
    restless = Comparison(eager, graph, "0.9.0", [COUNTER])
    restless.settle(lambda names, wanted: [graph, graph, eager], tmp_path)
    assert restless.reproducible is False and restless.conclude()[0] == "inconclusive"
    assert [level.level for level in restless.levels] == []


def test_zeros_of_another_sign_are_rounding(sides):
    zeros = np.zeros(3, np.float32)
    sides.add(FORWARD, "a", eager=zeros, graph=-zeros, reference=zeros.astype(np.float64))
    (level,) = sides.judge()
    assert (level.verdict, level.within_rounding) == ("equal within rounding", 1)
    assert "the largest error is 0 of the rounding limit, in a" in level.reason


@pytest.mark.parametrize("graph", [np.inf, np.nan])
def test_losses_that_are_not_finite_in_both_modes_are_never_a_pass(graph):
    sides = []
    for values in ([1.0, np.inf, 1.0], [1.0, graph, 1.0]):
        observer = Observer({})
        for step in range(1, 4):
            observer.add(LOSS_CURVE, f"losses to step {step}", "loss", np.array(values[:step]))
        sides.append(observer.take())
    comparison = Comparison(*sides, "0.9.0", [])
    assert comparison.conclude() == (
        "inconclusive",
        "the loss is not finite from step 2 on, and a fault may hide behind it",
    )
