"""Made-up parity checks with known answers."""

from __future__ import annotations

from typing import Any, List, Optional

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.parity.baseline import Baseline, create_baseline
from oneflow_bench.bench.parity.result import (
    LEVELS,
    CheckDocument,
    KnownHit,
    LevelResult,
    ModelCheck,
    Origin,
    SideFacts,
    Speedup,
    TensorDifference,
)

MACHINE = {"cpu": {"model": "A Processor 9000", "cores": 2, "flags": []}}
LOSSES: List[Optional[float]] = [2.25, 2.125, 2.0, 1.875, 1.75, 1.625]


def create_side(**changes: Any) -> SideFacts:
    values = {
        "losses": list(LOSSES),
        "resumed_losses": LOSSES[3:],
        "accuracy": 0.25,
        "validation_loss": 1.5,
        "parameters_digest": "a" * 64,
        "graph_ops": None,
        "compile_s": None,
        "peak_rss_bytes": 400 * 2**20,
    }
    return SideFacts(**{**values, **changes})


def create_speedup(ratio: float = 1.2, **changes: Any) -> Speedup:
    """An interval of 2 % to either side."""
    values = {
        "ratio": ratio,
        "low": ratio / 1.02,
        "high": ratio * 1.02,
        "verdict": "faster",
        "reason": "the whole 95 % interval is beyond 1 %",
        "control_verdict": "equivalent",
        "replicates": 6,
        "duration_s": 25.0,
    }
    return Speedup(**{**values, **changes})  # type: ignore[arg-type]


def create_failed_speedup(error: str = "it died") -> Speedup:
    return Speedup(verdict="inconclusive", reason="the measurement failed", error=error)


def create_difference(level: str, name: str, verdict: str, **changes: Any) -> TensorDifference:
    values = {
        "kind": "Conv2d",
        "shape": [4, 8, 16, 16],
        "reference_rms": 0.5,
        "eager_error": 1e-8,
        "graph_error": 2e-8,
        "difference_rms": 1e-8,
        "error_ratio": 0.4,
        "max_abs": 1e-7,
        "max_ulp": 3,
        "cosine": 1.0,
        "largest_at": [0, 3, 2, 1],
        "eager_value": 0.123456789,
        "graph_value": 0.1234568,
        "reference_value": 0.12345679,
    }
    return TensorDifference(
        level=level,
        name=name,
        verdict=verdict,
        **{**values, **changes},  # type: ignore[arg-type]
    )


def create_level(level: str, verdict: str = "identical", **changes: Any) -> LevelResult:
    values = {"reason": "all 10 tensors are bitwise equal", "tensors": 10, "identical": 10}
    values.update({"within_rounding": 0, "different": 0})
    return LevelResult(
        level=level,
        verdict=verdict,
        **{**values, **changes},  # type: ignore[arg-type]
    )


def create_check(model: str = "lenet", **changes: Any) -> ModelCheck:
    """A model whose modes are identical."""
    values = {
        "workload": Workload(model=model, data="synthetic", feed="memory", batch_size=4),
        "steps": 6,
        "verdict": "identical",
        "reason": "all 110 tensors are bitwise equal",
        "reproducible": True,
        "levels": [create_level(level) for level in LEVELS],
        "eager": create_side(),
        "graph": create_side(graph_ops=50, compile_s=0.5, peak_rss_bytes=450 * 2**20),
        "duration_s": 4.0,
    }
    return ModelCheck(model=model, **{**values, **changes})


def create_rounding_check(model: str = "resnet18") -> ModelCheck:
    """Gradients that differ in their last bits, and a known difference, one of them outdated."""
    worst = create_difference("gradients", "layer1.0.bn1.weight", "equal within rounding")
    reason = (
        "1 of 10 tensors differ in their last bits; the largest error is 0.4 of the rounding "
        "limit, in layer1.0.bn1.weight"
    )
    gradients = create_level(
        "gradients",
        "equal within rounding",
        reason=reason,
        identical=9,
        within_rounding=1,
        first_inexact="layer1.0.bn1.weight",
        worst=worst,
    )
    update = create_level("first update", identical=8, known=2)
    levels = [
        {"gradients": gradients, "first update": update}.get(name, create_level(name))
        for name in LEVELS
    ]
    known = [
        KnownHit(id="bn-counter", reason="the counter stands still", link="a.md#x", tensors=2),
        KnownHit(id="old-entry", reason="it was so", link="a.md#y", tensors=1, outdated=True),
    ]
    return create_check(
        model,
        verdict="equal within rounding",
        reason=f"from gradients on: {reason}",
        levels=levels,
        known=known,
    )


def create_different_check(model: str = "vgg11") -> ModelCheck:
    """A convolution that differs, confirmed in isolation and by a script."""
    first = create_difference(
        "forward", "features.3", "different", error_ratio=1234.5, graph_value=0.25
    )
    reason = (
        "features.3 differs: graph error 1.20e-04, eager error 1.00e-08, values of 5.00e-01; "
        "6 of the other 9 tensors differ too"
    )
    forward = create_level(
        "forward",
        "different",
        reason=reason,
        identical=3,
        different=7,
        first_inexact="features.3",
        first_different=first,
        worst=first,
    )
    return create_check(
        model,
        verdict="different",
        reason=f"forward: {reason}",
        levels=[create_level("initial weights"), create_level("batches"), forward],
        origin=Origin(
            level="forward",
            name="features.3",
            kind="Conv2d",
            shape=[4, 8, 16, 16],
            operator="conv2d",
            isolated_layer="reproduced",
            isolated_layer_reason="in isolation, on the same input, the modes differ in its output",
            script=f"{model}/reproduce.py",
            script_confirms=True,
        ),
    )


def create_inconclusive_check(model: str = "googlenet") -> ModelCheck:
    return create_check(
        model,
        verdict="inconclusive",
        reason="eager mode does not repeat itself: conv1 at the level 'forward' differed",
        reproducible=False,
        levels=[create_level("initial weights"), create_level("batches")],
    )


def create_failed_check(model: str = "mnasnet1_0") -> ModelCheck:
    return create_check(
        model,
        verdict="inconclusive",
        reason="the check did not finish",
        reproducible=None,
        levels=[],
        eager=None,
        graph=None,
        error="the worker graph died (exit status 9)\n\x1b[31mlast\x00 words\x1b[0m <&>",
    )


def create_check_document(*checks: ModelCheck, **changes: Any) -> CheckDocument:
    values = {
        "run_id": "check-test",
        "created": "2026-01-01T00:00:00+00:00",
        "machine": MACHINE,
        "blas_kernel": "Haswell",
        "oneflow": "0.9.0",
        "checks": list(checks),
    }
    return CheckDocument(**{**values, **changes})  # type: ignore[arg-type]


def create_stored(check: ModelCheck, **document: Any) -> Baseline:
    """The baseline of a check; `document` as in create_check_document."""
    baseline = create_baseline(create_check_document(**document), check)
    assert baseline is not None
    return baseline
