"""The results of a parity check, as data. Reports, baselines and the gate read nothing else.

`check.json` in the run's folder is a `CheckDocument` with one `ModelCheck` for each model. Schema
history:

    1   first version
    2   the speedup, if it was asked for
    3   `isolated_layer` of an origin, called `alone` before
    4   `cause`, the level `later forward`, and the names of the two contenders
    5   `unusable`
    6   `start_step`
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, List, Optional

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator
from typing_extensions import Literal

from ..config import Workload
from ..errors import InputError
from ..record.checksum import format_document
from ..record.machine import Environment
from ..record.run import load_document, save_text

CHECK_SCHEMA_VERSION = 6
READABLE_VERSIONS = (1, 2, 3, 4, 5, 6)  # later fields have defaults
CHECK_NAME = "check.json"

# the levels of a check, in the order in which a training run meets them
INITIAL_WEIGHTS = "initial weights"  # parameters and buffers before the first step
BATCHES = "batches"  # images and labels of every step and of the validation pass
EVAL_FORWARD = "eval forward"  # every module's output in eval mode, initial weights
FORWARD = "forward"  # every module's output in the first training step
LOSS = "loss"  # the first step's
GRADIENTS = "gradients"  # the first step's, of each module's output and each parameter
FIRST_UPDATE = "first update"  # parameters, buffers and optimizer state after one step
LATER_FORWARD = "later forward"  # every module's output in step 2, and more if these are small
LOSS_CURVE = "loss curve"  # the losses of all steps
TRAINED = "trained"  # parameters, buffers and optimizer state after the last step
RESUMED = "resumed"  # losses and state of a run that was resumed from a checkpoint
VALIDATION = "validation"  # logits of the validation pass after training
LEVELS = (
    INITIAL_WEIGHTS,
    BATCHES,
    EVAL_FORWARD,
    FORWARD,
    LOSS,
    GRADIENTS,
    FIRST_UPDATE,
    LATER_FORWARD,
    LOSS_CURVE,
    TRAINED,
    RESUMED,
    VALIDATION,
)

# kinds of tensors at the level of gradients beside parameters
OUTPUT_GRADIENT = "output gradient"  # also behind the name of the output
INPUTS = "inputs"  # a batch of the user's own `TrainingStep`, which has no labels
REQUIRES_GRADIENT = "requires gradient"  # whether an output belongs to the backward pass

SpeedVerdict = Literal["faster", "slower", "equivalent", "inconclusive"]
Verdict = Literal["identical", "equal within rounding", "different", "inconclusive"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class TensorDifference(_Strict):
    """One tensor that is not bitwise equal. Errors are root mean squares over its elements.

    The reference is eager mode in float64. An error is the distance of one mode from it. Values
    that are not finite, and measures that could not be taken, are None.
    """

    level: str
    name: str  # features.0, features.0.weight, features.0.weight/momentum, step 3
    kind: str  # class of the module, or parameter, buffer, optimizer state, loss, gradient, batch
    shape: List[int]
    verdict: Verdict
    reference_rms: Optional[float] = None
    eager_error: Optional[float] = None
    graph_error: Optional[float] = None
    difference_rms: Optional[float] = None  # graph - eager
    error_ratio: Optional[float] = None  # graph_error over the rounding limit; above 1: different
    max_abs: Optional[float] = None  # largest |graph - eager|
    max_ulp: Optional[int] = None  # largest distance in representable float32 values
    cosine: Optional[float] = None  # of graph and eager; None if one is zero
    largest_at: List[int] = Field(default_factory=list)  # index of the largest difference
    eager_value: Optional[float] = None  # there
    graph_value: Optional[float] = None
    reference_value: Optional[float] = None
    note: Optional[str] = None  # in words: missing, another shape, not finite

    @field_validator("*", mode="before")
    @classmethod
    def _keep_finite(cls, value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value


class KnownHit(_Strict):
    """An entry of the known differences that this check met."""

    id: str
    reason: str
    link: str
    tensors: int  # how many tensors it explains
    outdated: bool = False  # the tensors exist and no longer differ


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


class Cause(_Strict):
    """Why the modes differ, as far as the evidence tells."""

    kind: Literal[
        "random operator",
        "frozen at trace time",
        "assigned in forward",
        "hooks",
        "input changed",
        "gradient stopped",
    ]
    sentence: str  # without a full stop
    remedy: str  # an imperative


class Origin(_Strict):
    """The first tensor at which the modes differ, and the result of its layer in isolation."""

    level: str
    name: str
    kind: str
    shape: List[int]
    operator: Optional[str] = None  # of the compiled graph, if it can be told
    isolated_layer: Literal["reproduced", "agrees", "not run"] = Field(
        default="not run", validation_alias=AliasChoices("isolated_layer", "alone")
    )
    isolated_layer_reason: str = Field(  # the tensors that differ, or why the layer was not run
        default="", validation_alias=AliasChoices("isolated_layer_reason", "alone_reason")
    )
    script: Optional[str] = None  # the standalone reproduction, relative to the run's folder
    script_confirms: Optional[bool] = None  # its exit status said that the modes differ


class ModeFacts(_Strict):
    """Results of one mode apart from tensors, for a check and for its baseline.

    Seconds and bytes. Losses are float32 values at full precision, None if not finite.
    """

    losses: List[Optional[float]]  # of every step
    resumed_losses: List[Optional[float]]
    accuracy: Optional[float]  # of the validation pass after training, 0 to 1
    validation_loss: Optional[float]
    parameters_digest: str  # sha256 over parameters and buffers after the last step
    graph_ops: Optional[int]  # operators of the compiled train graph
    compile_s: Optional[float]  # of the train graph without observation; None in eager mode
    peak_rss_bytes: Optional[int]


class SideFacts(ModeFacts):
    """Results of one mode in a check."""

    environment: Dict[str, Any] = Field(default_factory=dict)


class Speedup(_Strict):
    """Eager time over graph time of a train step, by the suite's speed verdict.

    The interval is of 95 %. It is None if too few processes were measured.
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
    """All results of one model. `eager` is the baseline's side, `graph` the contender's."""

    model: str
    baseline: str = "eager"  # names of the contenders
    contender: str = "graph"
    workload: Workload
    steps: int  # judged ones
    start_step: int = 0  # updates before them, with equal bits on both sides
    verdict: Verdict
    reason: str
    reproducible: Optional[bool]  # each mode repeated itself bit for bit; None: not tested
    levels: List[LevelResult] = Field(default_factory=list)
    origin: Optional[Origin] = None
    cause: Optional[Cause] = None
    known: List[KnownHit] = Field(default_factory=list)
    eager: Optional[SideFacts] = None
    graph: Optional[SideFacts] = None
    speedup: Optional[Speedup] = None  # None: not asked for
    error: Optional[str] = None  # a worker failed: its message; the verdict is inconclusive then
    unusable: bool = False  # the error was in the model or its data, and not in a worker
    duration_s: float = 0.0

    @property
    def title(self) -> str:
        """The model, and its contenders where they are not eager mode and the graph."""
        sides = (self.baseline, self.contender)
        usual = sides == ("eager", "graph")
        return self.model if usual else f"{self.model}, {' against '.join(sides[::-1])}"


class CheckDocument(_Strict):
    """`check.json`."""

    schema_version: int = CHECK_SCHEMA_VERSION
    run_id: str
    created: str  # ISO 8601, UTC
    machine: Environment = Field(default_factory=dict)
    blas_kernel: Optional[str] = None
    oneflow: Optional[str] = None
    checks: List[ModelCheck] = Field(default_factory=list)


def save_check(document: CheckDocument, folder: Path) -> None:
    """Write `check.json` into `folder`; a reader sees the old document or the new one."""
    remedy = "give --out a folder you may write to"
    save_text(folder / CHECK_NAME, format_document(document), remedy)


def load_check(run: Path) -> CheckDocument:
    """Read a check's folder, or the `check.json` in it.

    Raises RecordError for a missing or damaged file or another schema version, and InputError for
    one without a model.
    """
    path = run if run.name == CHECK_NAME else run / CHECK_NAME
    document: CheckDocument = load_document(
        path, CheckDocument, READABLE_VERSIONS, "check", "give a folder made by bench check"
    )
    if not document.checks:
        raise InputError(f"{path} holds no finished model; run bench check again")
    return document
