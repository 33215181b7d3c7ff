"""What the strategies have in common: the check of a rank's share, and an optimizer made anew."""

from __future__ import annotations

from dataclasses import replace

from ..errors import InputError
from ..plan.resolve import NOT_AVAILABLE
from ..training.job import Job
from ..training.modes import ModeSetting
from ..training.optimizers import create_optimizer, create_scheduler


def check_share(job: Job, setting: ModeSetting) -> None:
    """Raise InputError where a rank's share of a batch does not divide into the parts asked for."""
    parts, share, ranks = job.accumulation_steps, job.train_feed.batch_size, setting.identity.ranks
    if share % parts:
        raise InputError(
            f"each of {ranks} ranks has {share} samples of a batch, which do not divide into "
            f"{parts} parts for one update; give a --batch-size that is a multiple of "
            f"{ranks * parts}"
        )


def renew_optimizer(job: Job, setting: ModeSetting) -> Job:
    """The job with an optimizer and a schedule over the parameters that its model has by now.

    A parameter that becomes a global tensor is another object.
    """
    optimizer = create_optimizer(setting.workload, job.model)
    scheduler = create_scheduler(setting.workload, optimizer, setting.steps_per_epoch)
    return replace(job, optimizer=optimizer, scheduler=scheduler)


def refuse(setting: ModeSetting, reason: str) -> InputError:
    """The error that a strategy is not available, and why."""
    name, ranks = setting.contender.strategy, setting.identity.ranks
    return InputError(f"{NOT_AVAILABLE}{name} on {ranks} ranks: {reason}")
