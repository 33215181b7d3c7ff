"""What a parity check found, as data. Reports, baselines and gates read this and nothing else.

`check.json` in the run's folder is a `CheckDocument`: one `ModelCheck` for each model. Schema
history:

    1   first version
    2   the speedup, where it was asked for
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import Literal

from ..config import Workload

CHECK_SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, 2)  # what came later has defaults
CHECK_NAME = "check.json"

# the levels of a check, in the order in which a training run meets them
INITIAL_WEIGHTS = "initial weights"  # parameters and buffers before the first step
BATCHES = "batches"  # images and labels of every step and of the validation pass
EVAL_FORWARD = "eval forward"  # every module's output in eval mode, initial weights
FORWARD = "forward"  # every module's output in the first training step
LOSS = "loss"  # the first step's
GRADIENTS = "gradients"  # the first step's, parameter by parameter
FIRST_UPDATE = "first update"  # parameters, buffers and optimizer state after one step
LOSS_CURVE = "loss curve"  # the losses of all steps
TRAINED = "trained"  # parameters, buffers and optimizer state after the last step
RESUMED = "resumed"  # losses and state of a run that went on from a checkpoint
VALIDATION = "validation"  # logits of the validation pass after training
LEVELS = (
    INITIAL_WEIGHTS,
    BATCHES,
    EVAL_FORWARD,
    FORWARD,
    LOSS,
    GRADIENTS,
    FIRST_UPDATE,
    LOSS_CURVE,
    TRAINED,
    RESUMED,
    VALIDATION,
)

SpeedVerdict = Literal["faster", "slower", "equivalent", "inconclusive"]
Verdict = Literal["identical", "equal within rounding", "different", "inconclusive"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class TensorDifference(_Strict):
    """One tensor that is not bitwise equal. Errors are root mean squares over its elements.

    `reference` is eager in float64; the two errors are each side's distance from it. Values that
    are not finite are None.
    """

    level: str
    name: str  # features.0, features.0.weight, features.0.weight/momentum, step 3
    kind: str  # class of the module, or parameter, buffer, optimizer state, loss, gradient, batch
    shape: List[int]
    verdict: Verdict
    reference_rms: Optional[float]
    eager_error: Optional[float]
    graph_error: Optional[float]
    difference_rms: Optional[float]  # graph - eager
    error_ratio: Optional[float]  # graph_error over what rounding explains; above 1 is different
    max_abs: Optional[float]  # largest |graph - eager|
    max_ulp: Optional[int]  # largest distance in representable float32 values
    cosine: Optional[float]  # of graph and eager; None where one is zero
    largest_at: List[int]  # index of the largest difference
    eager_value: Optional[float]  # there
    graph_value: Optional[float]
    reference_value: Optional[float]
    note: Optional[str] = None  # what cannot be said in numbers: missing, another shape, not finite


class KnownHit(_Strict):
    """An entry of the known differences that this check met."""

    id: str
    reason: str
    link: str
    tensors: int  # how many tensors it explains
    outdated: bool = False  # the tensors are there and do not differ any more


class LevelResult(_Strict):
    """One level. Tensors explained by a known difference count as `known` and not as different."""

    level: str
    verdict: Verdict
    reason: str
    tensors: int
    identical: int
    within_rounding: int
    different: int
    known: int = 0
    first_inexact: Optional[str] = None  # the first tensor, in order, with any bit that differs
    first_different: Optional[TensorDifference] = None
    worst: Optional[TensorDifference] = None  # the largest error_ratio


class Origin(_Strict):
    """Where the two modes begin to differ, and what running that layer alone showed."""

    level: str
    name: str
    kind: str
    shape: List[int]
    operator: Optional[str] = None  # of the compiled graph, where it can be told
    alone: Literal["reproduced", "agrees", "not run"] = "not run"
    alone_reason: str = ""  # what running it alone in both modes showed, or why it was not run
    script: Optional[str] = None  # the standalone reproduction, relative to the run's folder
    script_confirms: Optional[bool] = None  # its exit status said that the modes differ


class SideFacts(_Strict):
    """What one mode gave, apart from tensors. Seconds and bytes."""

    losses: List[Optional[float]]  # of every step, float32 values at full precision
    resumed_losses: List[Optional[float]] = Field(default_factory=list)
    accuracy: Optional[float] = None  # of the validation pass after training
    validation_loss: Optional[float] = None
    parameters_digest: str = ""  # sha256 over parameters and buffers after the last step
    graph_ops: Optional[int] = None  # operators of the compiled train graph
    compile_s: Optional[float] = None  # of the train graph without observation; None in eager mode
    peak_rss_bytes: Optional[int] = None
    environment: Dict[str, Any] = Field(default_factory=dict)


class Speedup(_Strict):
    """Eager time over graph time of a train step, as the speed verdict found it (bench/speed.py).

    The interval is of 95 %; None where too few processes were measured, or none.
    """

    ratio: Optional[float] = None
    low: Optional[float] = None
    high: Optional[float] = None
    verdict: SpeedVerdict  # on graph mode
    reason: str
    control_verdict: Optional[SpeedVerdict] = None  # of eager mode against itself
    replicates: int = 0
    duration_s: float = 0.0
    error: Optional[str] = None  # a worker failed: its message


class ModelCheck(_Strict):
    """Everything a check says of one model."""

    model: str
    workload: Workload
    steps: int
    verdict: Verdict
    reason: str
    reproducible: Optional[bool]  # each mode repeated itself bit for bit; None: not asked
    levels: List[LevelResult] = Field(default_factory=list)
    origin: Optional[Origin] = None
    known: List[KnownHit] = Field(default_factory=list)
    eager: Optional[SideFacts] = None
    graph: Optional[SideFacts] = None
    speedup: Optional[Speedup] = None  # None: not asked for
    error: Optional[str] = None  # a worker failed: its message; the verdict is inconclusive then
    duration_s: float = 0.0


class CheckDocument(_Strict):
    """`check.json`."""

    schema_version: int = CHECK_SCHEMA_VERSION
    run_id: str
    created: str  # ISO 8601, UTC
    machine: Dict[str, Any] = Field(default_factory=dict)
    blas_kernel: Optional[str] = None
    oneflow: Optional[str] = None
    checks: List[ModelCheck] = Field(default_factory=list)
