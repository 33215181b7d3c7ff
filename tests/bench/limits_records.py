"""Made-up documents of limits, for the reports and the pictures."""

from __future__ import annotations

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.tools.limits.document import (
    COPY,
    MATMUL,
    Ceiling,
    LimitsDocument,
    StepTimes,
    Witness,
)
from oneflow_bench.bench.tools.limits.steps import compare_steps
from oneflow_bench.bench.tools.limits.work import LayerWork, Work

GIGA = 10**9


def create_layer(name="conv", flops=GIGA, moved=GIGA // 100, counted=True):
    """Forward as given, backward twice that, half of it each gradient; no update."""
    one = Work(flops=flops, bytes=moved)
    return LayerWork(
        name=name,
        kind="Conv2d",
        calls=1,
        num_params=10,
        macs=flops // 2,
        counted=counted,
        forward=one,
        input_gradient=one,
        weight_gradient=one,
        update=Work(),
    )


def create_ceilings():
    """100 GFLOP/s and 10 GB/s on one core; 150 and 20 on two."""
    found = []
    for threads, scale in ((1, 1.0), (2, 1.5)):
        found += [
            Ceiling(
                what=MATMUL, library="numpy", threads=threads, size=64, rates=[8e10, 1e11 * scale]
            ),
            Ceiling(what=MATMUL, library="oneflow", threads=threads, size=64, rates=[9e10]),
            Ceiling(
                what=COPY, library="numpy", threads=threads, size=2**20, rates=[1e10 * threads]
            ),
        ]
    return found


def create_limits(layers=None, torch=False, **changes):
    steps = [
        StepTimes(
            name="eager", library="oneflow", mode="eager", block_steps=1, step_time_s=[0.3] * 8
        ),
        StepTimes(
            name="graph",
            library="oneflow",
            mode="graph",
            block_steps=1,
            step_time_s=[0.2] * 8,
            compile_s=1.5,
        ),
    ]
    if torch:
        about = {"torch": "2.0", "threads": 2}
        steps += [
            StepTimes(
                name="torch eager",
                library="torch",
                mode="eager",
                block_steps=1,
                step_time_s=[0.1] * 8,
                environment=about,
            ),
            StepTimes(
                name="torch compiled", library="torch", mode="compiled", error="it has no compiler"
            ),
        ]
        changes["witness"] = [
            Witness(name="eager", losses=[2.0, 1.0]),
            Witness(name="torch eager", losses=[2.0, 1.5], max_relative_difference=0.5),
            Witness(name="torch compiled", error="it has no compiler"),
        ]
    given = {
        "created": "2026-01-01T00:00:00+00:00",
        "workload": Workload(model="lenet"),
        "runtime": "tuned",
        "machine": {},
        "cores": 2,
        "layers": [create_layer()] if layers is None else layers,
        "ceilings": create_ceilings(),
        "steps": steps,
        "ratios": compare_steps(steps),
    }
    return LimitsDocument(**{**given, **changes})
