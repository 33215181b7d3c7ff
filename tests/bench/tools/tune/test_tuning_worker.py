"""The parity check of the tuner with real processes."""

from __future__ import annotations

import pytest

from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.tools.tune.candidates import create_program, create_variable
from oneflow_bench.bench.tools.tune.parity import ParityCheck, create_judge
from oneflow_bench.bench.worker.environment import RuntimeResolver
from oneflow_bench.bench.worker.process import create_launcher


@pytest.mark.slow
@pytest.mark.oneflow
def test_stock_repeats_itself_and_a_faithful_setting_is_found_so(tmp_path):
    plan = create_plan({"model": "lenet", "steps_per_epoch": 5, "batch_size": 8, "clip_norm": 9.0})
    assert plan.dataset is not None
    launch = create_launcher(tmp_path, RuntimeResolver())
    judge = create_judge(plan, tmp_path, plan.dataset.root, 240.0)
    check = ParityCheck(launch, judge, 5, plan.dataset.root, tmp_path, 240.0, steps=4)
    program = create_program("graph", [], plan.workload)
    stock = check.run_baseline(program)
    assert len(stock.block.losses) == 4 and stock.graph_ops and stock.step_time_s > 0
    assert check.peak_rss_bytes > 2**20
    assert check.compare(check.train(program)).verdict == "identical"
    threads = create_program("graph", [create_variable("OMP_NUM_THREADS", "1", "")], plan.workload)
    assert check.judge(threads).verdict in ("identical", "equal within rounding")
    off = program._replace(name="off", workload=plan.workload.model_copy(update={"lr": 9.0}))
    assert check.check([off])["off"].verdict == "parity failed"
