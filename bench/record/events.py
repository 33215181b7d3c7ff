"""Events of the speed phase, as they stand in a record's samples.

A *replicate* is one fresh process for each role: the baseline, the contender, and the control,
which is the baseline's program a second time. Where there are several contenders, each has a
process of the role `contender`, and all of them share the baseline's and the control's. Blocks of
one replicate with one `pair` number were measured side by side; pairs 2 i and 2 i + 1 are a double
round, in which the second visits all processes in the reverse order of the first.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import Literal

Role = Literal["baseline", "contender", "control"]
ROLES: List[Role] = ["baseline", "contender", "control"]


class RecordEvent(BaseModel):
    """Base of all events of a record."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ProcessEvent(RecordEvent):
    """Base of the events of one process of the speed phase."""

    contender: str  # whose program the process runs
    role: Role
    replicate: int  # from 0, over the run
    wave: int  # replicates of one wave are alive together


class SpeedSetupEvent(ProcessEvent):
    """A process of the speed phase is compiled. Import and build overlapped with its siblings'."""

    event: Literal["speed_setup"] = "speed_setup"
    import_s: float
    build_s: float
    compile_train_s: float  # on its own turn
    compile_eval_s: float
    sync_s: float  # a synchronisation with nothing to wait for
    loader_step_time_s: float  # batches taken and nothing done with them
    unreadable: Dict[str, Optional[str]] = Field(default_factory=dict)  # counter -> why
    num_params: Optional[int] = None  # of the model
    rank_cores: Optional[List[List[int]]] = None  # which each rank may use; None: one process


def create_speed_setup(
    who: Dict[str, Any], prepared: Dict[str, Any], compiled: Dict[str, Any], probed: Dict[str, Any]
) -> SpeedSetupEvent:
    """From a worker's answers to `prepare`, `compile` and `probe`; `who` is the process."""
    answers = {**prepared, **compiled, **probed}
    taken = set(SpeedSetupEvent.model_fields) - {"event"}
    return SpeedSetupEvent(**who, **{key: answers[key] for key in taken if key in answers})


class SpeedBlockEvent(ProcessEvent):
    """Train steps timed together between two full synchronisations."""

    event: Literal["speed_block"] = "speed_block"
    kind: Literal["warmup", "scored"]
    pair: Optional[int] = None  # of the wave, from 0; None in warm-up
    turn: int  # position in the order of all turns of the phase
    steps: int
    lead_steps: int  # run before the clock started
    started_s: float  # since the phase's start
    duration_s: float  # of several ranks that of the slowest
    cpu_s: float  # processor time of the whole process, of all ranks together
    rank_durations_s: Optional[List[float]] = None  # of each rank; None: one process
    minor_faults: Optional[float] = None
    major_faults: Optional[float] = None
    voluntary_switches: Optional[float] = None
    involuntary_switches: Optional[float] = None
    instructions: Optional[float] = None  # outside the kernel
    energy_j: Optional[float] = None  # of the processor package, by whoever used it
    machine_busy_s: Optional[float] = None  # of the usable cores, by this process and all others

    @property
    def step_time_s(self) -> float:
        return self.duration_s / self.steps


class SpeedEndEvent(ProcessEvent):
    """A process of the speed phase has ended in good order."""

    event: Literal["speed_end"] = "speed_end"
    peak_rss_bytes: int  # of all ranks together
    rank_peak_rss_bytes: Optional[List[int]] = None


class LookEvent(RecordEvent):
    """The data so far were judged, and the run might have stopped; looks have a price."""

    event: Literal["look"] = "look"
    look: int  # from 1
    replicates: int
    started_s: float
    move: str  # what the run did next: stop | longer | fresh | rest


class ConditionsEvent(RecordEvent):
    """What the machine was doing."""

    event: Literal["conditions"] = "conditions"
    when: Literal["before", "during", "after"]
    started_s: float
    conditions: Dict[str, Any]
