"""Events as they stand in a record's samples.

A *replicate* is a fresh process for each role: the baseline, each contender, and the control, which
is the baseline's program again. Blocks of one replicate with one `pair` were measured side by side.
Of pairs 2 i and 2 i + 1 the second visits all processes in the reverse order (ABBA).
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Annotated, Literal

from .machine import Environment

Role = Literal["baseline", "contender", "control"]
ROLES: List[Role] = ["baseline", "contender", "control"]
Quantity = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, le=1e10)]
Timed = Annotated[float, Field(gt=0, le=1e10)]  # seconds of work
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


def finite_or_none(value: float) -> Optional[float]:
    """JSON has no number for a value that is not finite."""
    return value if math.isfinite(value) else None


class RecordEvent(BaseModel):
    """Base of all events of a record. All numbers are finite."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        populate_by_name=True,
        allow_inf_nan=False,
    )


class Prepared(RecordEvent):
    """A worker's answer to `prepare`: OneFlow is imported, the job is built."""

    import_s: Seconds  # importing oneflow
    build_s: Seconds  # model, optimizer and feed
    initial_digest: str  # sha256 over the initial parameters and buffers
    num_params: Count
    first_step: Count = 0  # updates done before, in the run that this one resumes
    dropped: Optional[List[str]] = None  # tensors of the checkpoint that were not loaded
    teacher_digest: Optional[str] = None  # sha256 over the teacher's parameters and buffers
    environment: Environment = Field(default_factory=dict)  # versions, variables, BLAS kernel
    rank_cores: Optional[List[List[int]]] = None  # which each rank may use; None: one process
    module_kinds: Optional[List[str]] = None  # classes of the model's modules, each once


class Compiled(RecordEvent):
    """A worker's answer to `compile`."""

    compile_train_s: Seconds  # 0 in eager mode
    compile_eval_s: Seconds
    graph_ops: Optional[Count] = None  # operators of the compiled train graph


class Steps(RecordEvent):
    """Steps timed together."""

    duration_s: Timed  # of several ranks that of the slowest
    cpu_s: Seconds  # processor time of the whole process, of all ranks together
    rank_durations_s: Optional[List[Seconds]] = None  # of each rank; None: one process


class TrainedBlock(Steps):
    """A worker's answer to `train`: steps and their losses."""

    first_step: Count  # from 0, over the run
    losses: List[Optional[float]]  # float32 values at full precision; None where not finite
    lr: List[float]
    labels_digest: str
    images_digest: Optional[str] = None  # None when the loader is inside the graph


class TimedBlock(Steps):
    """A worker's answer to `measure`: steps and the resources they used."""

    minor_faults: Optional[Quantity] = None
    major_faults: Optional[Quantity] = None
    voluntary_switches: Optional[Quantity] = None
    involuntary_switches: Optional[Quantity] = None
    instructions: Optional[Quantity] = None  # outside the kernel
    energy_j: Optional[float] = None  # of the processor package, by whoever used it
    machine_busy_s: Optional[float] = None  # of the usable cores, by this process and all others


# the validation split, training images as they are, or the validation split by the teacher
Subject = Literal["validation", "train", "teacher"]


class Validated(RecordEvent):
    """A worker's answer to `eval`."""

    duration_s: Seconds
    steps: AtLeastOne
    samples: AtLeastOne
    correct: Optional[Count] = None  # None: not one class a sample
    loss: Optional[float]  # None where not finite
    metrics: Optional[Dict[str, Optional[float]]] = None  # of several labels, or of an own step

    @model_validator(mode="after")
    def _check_correct(self) -> Validated:
        if self.correct is not None and self.correct > self.samples:
            raise ValueError(f"{self.correct} of {self.samples} samples are correct")
        return self

    @property
    def has_accuracy(self) -> bool:
        """Whether a count or a metric of that name is known, which may not be finite."""
        return self.correct is not None or "accuracy" in (self.metrics or {})

    @property
    def accuracy(self) -> Optional[float]:
        """From 0 to 1; None where there is none, or where it is not finite."""
        if self.correct is not None:
            return self.correct / self.samples
        return (self.metrics or {}).get("accuracy")

    @property
    def quality(self) -> float:
        """The higher, the better the weights: the accuracy, else the negative loss."""
        fallback = -math.inf if self.loss is None else -self.loss
        return fallback if self.accuracy is None else self.accuracy


class Probed(RecordEvent):
    """A worker's answer to `probe`: the cost of measuring, the loader alone, and the memory."""

    sync_s: Seconds  # a synchronisation with nothing to wait for
    loader_step_time_s: Seconds  # batches taken and nothing done with them
    peak_rss_bytes: Count
    unreadable: Dict[str, Optional[str]] = Field(default_factory=dict)  # counter -> why


class Ended(RecordEvent):
    """A worker's answer to `end`."""

    peak_rss_bytes: Count  # of all ranks together
    rank_peak_rss_bytes: Optional[List[Count]] = None
    teacher_digest: Optional[str] = None


class SetupEvent(Prepared, Compiled):
    """A worker is ready: the times it took, the state it starts from, the software it runs on."""

    event: Literal["setup"] = "setup"
    contender: str
    initial_weights: Optional[str] = None  # contender that drew them, where it is another


class BlockEvent(TrainedBlock):
    """Train steps timed together between two full synchronisations."""

    event: Literal["block"] = "block"
    contender: str
    epoch: Count  # from 0
    block: Count  # from 0, over the run; the same number of both contenders form a pair
    turn: Count  # position in the run's order of turns, from 0
    kind: Literal["first", "warmup", "steady"]  # first: one step; only steady enters speed
    steps: AtLeastOne
    started_s: Seconds  # since the run's start

    @property
    def step_time_s(self) -> float:
        return self.duration_s / self.steps


class EvalEvent(Validated):
    """One pass over the validation split, every sample once."""

    event: Literal["eval"] = "eval"
    contender: str
    epoch: Count


class ScoreEvent(Validated):
    """A pass after the training that is no validation."""

    event: Literal["score"] = "score"
    contender: str
    subject: Subject


class ParameterDifference(RecordEvent):
    """Difference of the parameters and buffers of two contenders."""

    baseline: str
    contender: str
    max_abs: Optional[float]  # None where not finite, in all three
    mean_abs: Optional[float]
    relative_l2: Optional[float]  # ||contender - baseline|| / ||baseline||
    largest_in: str  # the tensor with the largest difference
    digests: Dict[str, str]


class ParametersEvent(ParameterDifference):
    event: Literal["parameters"] = "parameters"
    epoch: Count  # after it


class StepParametersEvent(ParameterDifference):
    event: Literal["step_parameters"] = "step_parameters"
    step: Count  # after it, from 0 over the run


class CheckpointEvent(RecordEvent):
    """A checkpoint is on the disk: weights, and the state of the optimizer beside them."""

    event: Literal["checkpoint"] = "checkpoint"
    contender: str
    epoch: Count
    digest: str  # sha256 over the parameters and buffers


class EndEvent(Ended):  # in good order
    event: Literal["end"] = "end"
    contender: str


class ProcessEvent(RecordEvent):
    """Base of the events of one process of the speed phase."""

    contender: str  # whose program the process runs
    role: Role
    replicate: Count  # from 0, over the run
    wave: Count  # replicates of one wave are alive together


class SpeedSetupEvent(ProcessEvent):
    """A process of the speed phase is compiled. Import and build overlapped with its siblings'."""

    event: Literal["speed_setup"] = "speed_setup"
    import_s: Seconds
    build_s: Seconds
    compile_train_s: Seconds  # on its own turn
    compile_eval_s: Seconds
    sync_s: Seconds  # a synchronisation with nothing to wait for
    loader_step_time_s: Seconds  # batches taken and nothing done with them
    unreadable: Dict[str, Optional[str]] = Field(default_factory=dict)  # counter -> why
    num_params: Optional[Count] = None  # of the model
    rank_cores: Optional[List[List[int]]] = None  # which each rank may use; None: one process


class SpeedBlockEvent(ProcessEvent, TimedBlock):
    """Train steps timed together between two full synchronisations."""

    event: Literal["speed_block"] = "speed_block"
    kind: Literal["warmup", "scored"]
    pair: Optional[Count] = None  # of the wave, from 0; None in warm-up
    turn: Count  # position in the order of all turns of the phase
    steps: AtLeastOne
    untimed_steps: Count = Field(validation_alias=AliasChoices("untimed_steps", "lead_steps"))
    started_s: Seconds  # since the phase's start

    @property
    def step_time_s(self) -> float:
        return self.duration_s / self.steps


class SpeedEndEvent(ProcessEvent):
    """A process of the speed phase has ended in good order."""

    event: Literal["speed_end"] = "speed_end"
    peak_rss_bytes: Count  # of all ranks together
    rank_peak_rss_bytes: Optional[List[int]] = None


class InterimAnalysisEvent(RecordEvent):
    """The data so far were judged, and the run might have stopped. Each analysis has a price."""

    event: Literal["look"] = "look"
    number: AtLeastOne = Field(validation_alias=AliasChoices("number", "look"))  # from 1
    replicates: Count
    started_s: Seconds
    # of the run after it: stop | fresh | rest; longer in records up to 0.3.0
    action: str = Field(validation_alias=AliasChoices("action", "move"))


class ConditionsEvent(RecordEvent):
    """What the machine was doing."""

    event: Literal["conditions"] = "conditions"
    when: Literal["before", "during", "after"]
    started_s: Seconds
    conditions: Dict[str, Any]
