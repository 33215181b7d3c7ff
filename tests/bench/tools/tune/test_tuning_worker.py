"""The first steps of real processes."""

from __future__ import annotations

import pytest

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.tools.tune.fidelity import judge_fidelity
from oneflow_bench.bench.tools.tune.first_steps import Entrant, FirstSteps
from oneflow_bench.bench.tools.tune.run import create_launchers


@pytest.mark.oneflow
def test_stock_repeats_itself_and_reference_and_witness_are_a_rounding_away(tmp_path):
    plan = create_plan({"model": "lenet", "steps_per_epoch": 5, "batch_size": 8})
    assert plan.dataset is not None
    first = FirstSteps(
        create_launchers(tmp_path).heat, 5, plan.dataset.root, tmp_path, 240.0, trained_steps=4
    )

    def enter(mode, **more):
        contender = Contender(name=mode, mode=mode, runtime="stock", **more)
        return Entrant(mode, contender, plan.workload)

    scouted = first.scout(enter("graph"))
    stock = scouted.trained
    assert len(stock.losses) == scouted.trained_steps == 4
    assert scouted.operators_digest and scouted.environment["oneflow"] == "0.9.0"
    assert scouted.start_s > scouted.prepare_s > 0 and scouted.peak_rss_bytes > 2**20
    again = first.train_alone(enter("graph"))
    assert judge_fidelity(stock, again).verdict == "identical"
    reference = first.train_alone(enter("eager", dtype="float64"))
    witness = first.train_alone(enter("eager"), witness=1)
    assert len({stock.digest, reference.digest, witness.digest}) == 3
    for other in (reference, witness):
        assert other.labels_digest == stock.labels_digest
        assert other.losses == pytest.approx(stock.losses, rel=1e-4)
    assert reference.losses != stock.losses  # in float64
    moved = judge_fidelity(stock, witness, reference, [witness])
    assert moved.verdict == "equal within rounding"
    wrong = first.train_alone(
        Entrant("graph", enter("graph").contender, plan.workload.model_copy(update={"lr": 0.021}))
    )
    assert judge_fidelity(stock, wrong, reference, [witness]).verdict == "different"
