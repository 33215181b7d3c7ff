"""The requests that a training worker is asked; its answers are the bases of the record's events.

    prepare -> Prepared     train   -> TrainedBlock     save -> Saved     end -> Ended
    compile -> Compiled     measure -> TimedBlock       probe -> Probed
    setup   -> Setup, prepare and compile together      eval -> Validated

Both ends check them with these models. A tool's own worker has requests of its own.
"""

from __future__ import annotations

from typing import Any, Optional, Type, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from typing_extensions import Protocol

from ..config import Contender, Workload
from ..record.events import Compiled, Prepared, Subject

Answer = TypeVar("Answer", bound=BaseModel)


class Request(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(frozen=True, protected_namespaces=(), populate_by_name=True)


NOTHING = Request()  # a request that needs no more than its call


class PrepareRequest(Request):
    """Import OneFlow and build the job; of `setup` too."""

    workload: Workload
    contender: Contender
    steps_per_epoch: int
    dataset: Optional[str] = None  # folder; None: synthetic data
    initial_weights: Optional[str] = None  # file of another contender's, to start from
    implementation: Optional[str] = None  # of the mode; None: the worker's own registry has it


class StepsRequest(Request):
    """Of `train` and of `probe`: so many steps."""

    steps: int = Field(ge=1)


class MeasureRequest(StepsRequest):
    """Time `steps` after `untimed_steps`, which fill the caches that other turns emptied."""

    untimed_steps: int = Field(
        0, ge=0, validation_alias=AliasChoices("untimed_steps", "lead_steps")
    )


class EvalRequest(Request):
    """One pass over images."""

    subject: Subject = "validation"


class SaveRequest(Request):
    """Write the weights, and with `training` the optimizer's state beside them."""

    path: str
    training: bool = False
    epoch: int = 0  # epochs done


class Setup(Prepared, Compiled):
    """The answer to `setup`."""


class Saved(BaseModel):
    """The answer to `save`."""

    digest: str  # sha256 over the parameters and buffers


class Worker(Protocol):
    """A process, or several that answer as one (see `process.WorkerProcess`)."""

    def ask(self, call: str, timeout_s: float, **arguments: Any) -> Any:
        """Send a request and wait for its answer, a dict of JSON values."""

    def send(self, call: str, **arguments: Any) -> None:
        """Send a request without waiting."""

    def receive(self, call: str, timeout_s: float) -> Any:
        """The answer to the request that was sent last."""

    def kill(self) -> None:
        """End it at once."""

    def close(self) -> None:
        """End it in good order if it does so in time, else at once."""


def ask(
    worker: Worker, call: str, timeout_s: float, answer: Type[Answer], request: Request = NOTHING
) -> Answer:
    """The answer to a request as the model that it must fit."""
    return answer.model_validate(worker.ask(call, timeout_s, **request.model_dump(mode="json")))


class Launcher(Protocol):
    """Starts the worker of a contender."""

    def __call__(self, contender: Contender, /) -> Worker: ...
