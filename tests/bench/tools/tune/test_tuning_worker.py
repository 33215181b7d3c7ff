"""The parity check with real processes."""

from __future__ import annotations

import pytest

from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.tools.tune.candidates import create_program
from oneflow_bench.bench.tools.tune.fidelity import judge_fidelity
from oneflow_bench.bench.tools.tune.parity_check import ParityCheck
from oneflow_bench.bench.tools.tune.run import create_launchers


@pytest.mark.oneflow
def test_stock_repeats_itself_and_reference_and_perturbed_run_are_a_rounding_away(tmp_path):
    plan = create_plan({"model": "lenet", "steps_per_epoch": 5, "batch_size": 8})
    assert plan.dataset is not None
    check = ParityCheck(
        create_launchers(tmp_path).check, 5, plan.dataset.root, tmp_path, 240.0, trained_steps=4
    )
    graph, eager = (create_program(mode, [], plan.workload) for mode in ("graph", "eager"))
    stock = check.run_baseline(graph)
    assert len(stock.losses) == 4 and stock.operators_digest and stock.step_time_s > 0
    assert check.environment["oneflow"] == "0.9.0"
    assert check.start_s > 0 and check.peak_rss_bytes > 2**20
    assert judge_fidelity(stock, check.train(graph)).verdict == "identical"
    wide = eager.contender.model_copy(update={"dtype": "float64"})
    reference = check.train(eager._replace(contender=wide))
    perturbed = check.train(eager, perturbed_seed=1)
    assert len({stock.digest, reference.digest, perturbed.digest}) == 3
    for other in (reference, perturbed):
        assert other.labels_digest == stock.labels_digest
        assert other.losses == pytest.approx(stock.losses, rel=1e-4)
    assert reference.losses != stock.losses  # in float64
    moved = judge_fidelity(stock, perturbed, reference, [perturbed])
    assert moved.verdict == "equal within rounding"
    off = graph._replace(name="off", workload=plan.workload.model_copy(update={"lr": 0.021}))
    assert judge_fidelity(stock, check.train(off), reference, [perturbed]).verdict == "different"
    assert check.check([off])["off"].verdict == "parity failed"
