"""Refuses a recipe whose parts do not fit together, before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Type, TypeVar

from pydantic import BaseModel, ValidationError

from ...models import UnknownModelError, get_model_spec
from ..config import LOSS_ARGUMENTS, SYNTHETIC_DATA, TEACHER_LOSSES, Workload
from ..errors import InputError
from ..record.checkpoint import find_checkpoint
from .fields import flag_of, list_unused_fields
from .graph_options import suggest

Model = TypeVar("Model", bound=BaseModel)


def validated(kind: Type[Model], values: Dict[str, Any]) -> Model:
    """An instance of a configuration class; InputError naming the flag that does not fit."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = flag_of(str(first["loc"][0]))
        raise InputError(
            f"{flag} {first['input']} cannot be used: {first['msg'].lower()}; "
            "see --help for what it takes"
        ) from None


def fill_loss_arguments(workload: Workload) -> Workload:
    """The workload with the defaults of its loss's arguments.

    Raises InputError for an unknown loss, an argument that the loss needs and lacks, and one that
    it does not take.
    """
    loss = workload.loss
    if ":" not in loss and loss not in LOSS_ARGUMENTS:
        hint = suggest(loss, LOSS_ARGUMENTS, "see docs/recipes.md")
        raise InputError(f"unknown loss '{loss}'; {hint} (or package.module:function)")
    for name in sorted(list_unused_fields(loss)):
        if getattr(workload, name) is not None:
            raise InputError(
                f"{flag_of(name)} {getattr(workload, name)} has no effect with --loss {loss}; "
                "leave it out"
            )
    values = {}
    for name, default in LOSS_ARGUMENTS.get(loss, {}).items():
        if getattr(workload, name) is None:
            if default is None:
                raise InputError(
                    f"--loss {loss} needs {name}; give {flag_of(name)}, or the key in the recipe "
                    "file"
                )
            values[name] = default
    return workload.model_copy(update=values)


def check_recipe(workload: Workload) -> None:
    """Raise InputError for the first part of the recipe that contradicts another."""
    _check_teacher(workload)
    _check_optimizer(workload)
    _check_schedule(workload)
    _check_batch(workload)
    _check_checkpoints(workload)


def _check_teacher(workload: Workload) -> None:
    if workload.loss not in TEACHER_LOSSES:
        return
    if workload.teacher is None:
        raise InputError(f"--loss {workload.loss} needs teacher; give --teacher MODEL")
    if workload.teacher_checkpoint is None:
        raise InputError(
            f"--teacher {workload.teacher} needs teacher_checkpoint; train it with bench eager "
            f"--model {workload.teacher} and give --teacher-checkpoint its run folder"
        )
    find_checkpoint(Path(workload.teacher_checkpoint))
    if ":" in workload.teacher:
        return
    try:
        smallest = get_model_spec(workload.teacher).min_image_size
    except UnknownModelError as error:
        raise InputError(f"--teacher: {error}") from None
    if workload.image_size < smallest:
        raise InputError(
            f"--image-size {workload.image_size} is too small for the teacher "
            f"{workload.teacher}; it needs at least {smallest} pixels"
        )


def _check_optimizer(workload: Workload) -> None:
    if workload.nesterov and (workload.optimizer != "sgd" or workload.momentum == 0):
        raise InputError(
            "--nesterov needs --optimizer sgd with a momentum above 0; given were "
            f"{workload.optimizer} and {workload.momentum:g}"
        )


def _check_schedule(workload: Workload) -> None:
    milestones = workload.lr_milestones
    if workload.schedule == "multistep":
        if not milestones or milestones != sorted(set(milestones)) or milestones[0] < 1:
            raise InputError(
                f"--lr-milestones {','.join(map(str, milestones)) or '(none)'} cannot be used; "
                "--schedule multistep needs rising epochs from 1, such as 60,120,160"
            )
    elif milestones:
        raise InputError(
            f"--lr-milestones has no effect with --schedule {workload.schedule}; "
            "use --schedule multistep"
        )
    if workload.warmup_epochs > workload.epochs:
        raise InputError(
            f"--warmup-epochs {workload.warmup_epochs:g} is longer than the run of "
            f"{workload.epochs} epochs; give fewer"
        )


def _check_batch(workload: Workload) -> None:
    parts = workload.accumulation_steps
    if workload.batch_size % parts:
        raise InputError(
            f"--accumulation-steps {parts} does not divide --batch-size {workload.batch_size}; "
            "the parts of a batch must be of one size"
        )
    if parts > 1 and workload.feed == "graph":
        raise InputError(
            "--accumulation-steps splits a batch outside the graph, and --feed graph reads it "
            "inside; use --feed loader"
        )
    if workload.subset_percent < 100 and workload.data == SYNTHETIC_DATA:
        raise InputError("--subset-percent needs a dataset; leave it out with --data synthetic")


def _check_checkpoints(workload: Workload) -> None:
    if workload.load_checkpoint is not None:
        find_checkpoint(Path(workload.load_checkpoint))
    if workload.resume and workload.load_checkpoint:
        raise InputError("--resume and --load-checkpoint both give the weights; leave one out")
    if workload.resume and workload.feed == "graph":
        raise InputError(
            "--resume skips the batches already taken, and a loader inside the graph cannot skip "
            "any; use --feed loader"
        )
    if workload.drop_head and not workload.load_checkpoint:
        raise InputError("--drop-head has no effect without --load-checkpoint; leave it out")
    if workload.trust_checkpoint and not (workload.load_checkpoint or workload.teacher_checkpoint):
        raise InputError("--trust-checkpoint has no effect without a checkpoint; leave it out")
