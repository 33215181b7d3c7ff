"""Made-up profiles and limits, for the reports and the pictures."""

from __future__ import annotations

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.tools.profile.document import (
    GraphFacts,
    LayerProfile,
    LimitsDocument,
    LossRun,
    ProfileDocument,
    StepParts,
    StepTimes,
)
from oneflow_bench.bench.tools.profile.steps import compare_steps
from oneflow_bench.bench.tools.profile.work import COPY, MATMUL, Ceiling, LayerWork, Work

GIGA = 10**9

GRAPH = GraphFacts(
    compile_s=1.5,
    ops_built={"conv2d": 4, "relu": 2, "add": 3},
    ops_compiled={"conv2d": 4, "fused_relu": 2, "add": 1},
    step_s=[0.08],
)


def create_layer_profile(number, forward=0.001, backward=0.002, **options):
    """The layer features.`number`: seconds of its passes, and 10 parameters."""
    return LayerProfile(
        **{
            "name": f"features.{number}",
            "kind": "Conv2d",
            "calls": 1,
            "output_shape": [4, 8, 2, 2],
            "num_params": 10,
            "forward_s": [forward] * 3,
            "backward_s": [backward] * 3 if backward else [],
            "starts_s": [1.0 + number * 0.01],
            "spans_s": [forward],
            **options,
        }
    )


def create_profile(layers, mode="eager", graph=None, limits=None):
    return ProfileDocument(
        model="alexnet",
        mode=mode,
        batch_size=4,
        image_size=32,
        iterations=3,
        created="2026-01-01T00:00:00+00:00",
        machine={},
        environment={},
        layers=layers,
        parts=StepParts(
            step_s=[0.1], forward_s=[0.03], loss_s=[0.001], backward_s=[0.05], update_s=[0.02]
        ),
        profiled_step_s=[0.11],
        graph=graph,
        limits=limits,
    )


def create_layer(name="features.0", flops=GIGA, moved=GIGA // 100, counted=True):
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
        changes["loss_runs"] = [
            LossRun(name="eager", losses=[2.0, 1.0]),
            LossRun(name="torch eager", losses=[2.0, 1.5], max_relative_difference=0.5),
            LossRun(name="torch compiled", error="it has no compiler"),
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
