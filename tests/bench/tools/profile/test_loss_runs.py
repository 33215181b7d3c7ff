from __future__ import annotations

import pytest
from step_workers import Workers

from oneflow_bench.bench.tools.profile.document import relative_differences
from oneflow_bench.bench.tools.profile.steps import compare_losses

NAMES = ["eager", "eager float64", "graph", "torch eager", "torch compiled"]


def test_all_have_the_same_start_and_no_dropout():
    workers = Workers()
    start, runs, dropout_layers = workers.run(compare_losses, 3, "w.npz", "i.npz")
    assert (start.weights, start.aux_weights, dropout_layers) == ("w.npz", [0.3], 2)
    assert [run.name for run in runs] == NAMES
    assert [run.max_relative_difference for run in runs] == [None, 0.0, 0.0, 0.0, 0.0]
    requests = [r for name, call, r in workers.log if call == "setup"]
    assert all(r["weights"] == "w.npz" and r["aux_weights"] == [0.3] for r in requests)
    assert all(r["disable_dropout"] for r in requests)
    eager = [call for name, call, _ in workers.log if name == "losses-eager"]
    assert eager.index("disable_dropout") < eager.index("export") < eager.index("train")
    assert all(worker.closed for worker in workers.started)


def test_the_reference_is_eager_also_where_only_the_graph_is_timed():
    workers = Workers({("losses torch compiled", "train"): {"losses": [2.0, None, 1.0]}})
    _, runs, _ = workers.run(compare_losses, 3, "w.npz", "i.npz", modes=("graph",))
    assert [run.name for run in runs] == NAMES
    prepared = {n: r["contender"] for n, call, r in workers.log if call == "prepare"}
    assert {n: (c["mode"], c["dtype"]) for n, c in prepared.items()} == {
        "losses-eager": ("eager", "float32"),
        "losses-eager-float64": ("eager", "float64"),
        "losses-graph": ("graph", "float32"),
    }
    assert runs[-1].max_relative_difference is None
    assert runs[-1].error is None


@pytest.mark.parametrize(
    "reference, losses, expected",
    [
        ([2.0, 1.0], [2.0, 1.0], 0.0),
        ([2.0, -1.0], [2.1, -1.1], 0.1),
        ([0.0], [0.0], 0.0),
        ([0.0], [0.1], None),
        ([2.0, None], [2.0, None], None),
        ([2.0, 1.0], [2.0], None),
        ([2.0], [], None),
    ],
)
def test_the_largest_difference_is_relative(reference, losses, expected):
    answers = {
        ("losses-eager", "train"): {"losses": reference},
        ("losses torch eager", "train"): {"losses": losses},
    }
    _, runs, _ = Workers(answers).run(compare_losses, 2, "w.npz", "i.npz", modes=("eager",))
    found = next(run for run in runs if run.name == "torch eager").max_relative_difference
    assert found == (None if expected is None else pytest.approx(expected))


def test_differences_are_told_step_by_step():
    assert relative_differences([2.0, None, 0.0], [3.0, 1.0, 0.0]) == [0.5, None, 0.0]
    assert relative_differences([2.0], [2.0, 2.0]) == []
