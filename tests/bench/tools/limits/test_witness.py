from __future__ import annotations

import pytest
from step_workers import Workers

from oneflow_bench.bench.tools.limits.witness import (
    largest_difference,
    relative_differences,
    run_witness,
)

NAMES = ["eager", "eager float64", "graph", "torch eager", "torch compiled"]


def test_the_witness_has_the_same_start_and_no_dropout():
    workers = Workers()
    result = run_witness(workers.fleet(), 3, "w.npz", "i.npz")
    assert result.dropout_layers == 2
    assert [w.name for w in result.losses] == NAMES
    assert [w.max_relative_difference for w in result.losses] == [None, 0.0, 0.0, 0.0, 0.0]
    requests = [r for name, call, r in workers.log if call == "setup"]
    assert all(r["weights"] == "w.npz" and r["aux_weights"] == [0.3] for r in requests)
    assert all(r["disable_dropout"] for r in requests)
    eager = [call for name, call, _ in workers.log if name == "witness-eager"]
    assert eager.index("disable_dropout") < eager.index("export") < eager.index("train")
    assert all(worker.closed for worker in workers.started)


def test_the_reference_is_eager_also_where_only_the_graph_is_timed():
    workers = Workers({("witness torch compiled", "train"): {"losses": [2.0, None, 1.0]}})
    result = run_witness(workers.fleet(("graph",)), 3, "w.npz", "i.npz")
    assert [w.name for w in result.losses] == NAMES
    prepared = {n: r["contender"] for n, call, r in workers.log if call == "prepare"}
    assert {n: (c["mode"], c["dtype"]) for n, c in prepared.items()} == {
        "witness-eager": ("eager", "float32"),
        "witness-eager-float64": ("eager", "float64"),
        "witness-graph": ("graph", "float32"),
    }
    assert result.losses[-1].max_relative_difference is None
    assert result.losses[-1].error is None


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
    found = largest_difference(reference, losses)
    assert found == (None if expected is None else pytest.approx(expected))


def test_differences_are_told_step_by_step():
    assert relative_differences([2.0, None, 0.0], [3.0, 1.0, 0.0]) == [0.5, None, 0.0]
    assert relative_differences([2.0], [2.0, 2.0]) == []
