"""What a rank knows of the work it shares: the strategy, the group and the job's recipe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional

from ..config import Contender, Workload
from ..errors import InputError
from ..plan.availability import NOT_AVAILABLE
from ..training.identity import Identity
from ..training.job import Job
from ..training.optimizers import create_optimizer, create_scheduler


@dataclass(frozen=True)
class Sharing:
    """One training job of several ranks, as one of them sees it."""

    strategy: str  # a value of STRATEGIES
    identity: Identity
    workload: Workload
    steps_per_epoch: int

    @property
    def ranks(self) -> int:
        return self.identity.ranks


def describe_sharing(
    contender: Contender, identity: Identity, workload: Workload, steps_per_epoch: int
) -> Optional[Sharing]:
    """How this process shares a contender's work; None where it works alone.

    Raises InputError for a process that is not one of as many ranks as the contender has.
    """
    if identity.ranks != contender.ranks:
        raise InputError(
            f"{contender.name} has {contender.ranks} ranks and this process is one of "
            f"{identity.ranks}; start as many processes as ranks, with WORLD_SIZE and RANK set"
        )
    if contender.strategy is None:
        return None
    return Sharing(contender.strategy, identity, workload, steps_per_epoch)


def renew_optimizer(job: Job, sharing: Sharing) -> Job:
    """The job with an optimizer and a schedule over the parameters that its model has by now.

    A parameter that becomes a global tensor is another object.
    """
    optimizer = create_optimizer(sharing.workload, job.model)
    scheduler = create_scheduler(sharing.workload, optimizer, sharing.steps_per_epoch)
    return replace(job, optimizer=optimizer, scheduler=scheduler)


def refuse(sharing: Sharing, reason: str) -> InputError:
    """The error that a strategy is not available, and why."""
    return InputError(f"{NOT_AVAILABLE}{sharing.strategy} on {sharing.ranks} ranks: {reason}")
