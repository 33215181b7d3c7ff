"""The parity check with real processes."""

from __future__ import annotations

import pytest

from oneflow_bench.bench.parity.judge import REFERENCE
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.tools.tune.candidates import create_program
from oneflow_bench.bench.tools.tune.parity import STOCK_RUN, ParityCheck
from oneflow_bench.bench.worker.environment import RuntimeResolver
from oneflow_bench.bench.worker.process import create_launcher


@pytest.mark.slow
@pytest.mark.oneflow
def test_stock_repeats_itself_and_reference_and_perturbed_run_are_a_rounding_away(tmp_path):
    plan = create_plan({"model": "lenet", "steps_per_epoch": 5, "batch_size": 8, "clip_norm": 9.0})
    assert plan.dataset is not None
    launch = create_launcher(tmp_path, RuntimeResolver())
    check = ParityCheck(launch, 5, plan.dataset.root, tmp_path, 240.0, trained_steps=4)
    graph, eager = (create_program(mode, [], plan.workload) for mode in ("graph", "eager"))
    stock = check.run_baseline(graph)
    assert len(stock.block.losses) == 4 and stock.graph_ops and stock.step_time_s > 0
    assert check.peak_rss_bytes > 2**20
    assert check.compare(check.train(graph)).verdict == "identical"
    wide = eager.contender.model_copy(update={"dtype": "float64"})
    reference = check.train(eager._replace(contender=wide), REFERENCE)
    perturbed = check.train(eager, "perturbed-1")
    assert len({stock.digest, reference.digest, perturbed.digest}) == 3
    for other in (reference, perturbed):
        assert other.block.labels_digest == stock.block.labels_digest
        assert other.block.losses == pytest.approx(stock.block.losses, rel=1e-4)
    assert reference.block.losses != stock.block.losses  # in float64
    assert check.compare(perturbed).verdict == "equal within rounding"
    off = graph._replace(name="off", workload=plan.workload.model_copy(update={"lr": 0.021}))
    assert check.check([off])["off"].verdict == "parity failed"
    assert (tmp_path / STOCK_RUN / "trained.safetensors").exists()
