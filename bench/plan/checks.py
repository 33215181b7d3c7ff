"""Refuses recipes that contradict themselves and uneven work of ranks, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Collection, Dict, List, Optional, Sequence, Tuple, Type, TypeVar

from pydantic import BaseModel, ValidationError

from ...data import DataError, DatasetInfo, assign_parts
from ...models import ModelSpec, UnknownModelError, get_model_spec
from ..config import (
    EMBEDDED_DATA,
    IMAGE_FIELDS,
    LOSS_ARGUMENTS,
    MULTI_LABEL_LOSS,
    OPTIMIZERS,
    STEP_DATA,
    TEACHER_LOSSES,
    Contender,
    Workload,
)
from ..errors import InputError, raise_as_input
from ..record.checkpoint import find_checkpoint
from .fields import flag_of, list_unread
from .graph_options import suggest

MOST = 10_000_000  # of anything that is counted: beyond it lies a slip of the hand
Model = TypeVar("Model", bound=BaseModel)


def validated(kind: Type[Model], values: Dict[str, Any]) -> Model:
    """An instance of a configuration class; InputError naming the flag that does not fit."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = flag_of(str(first["loc"][0]))
        reason = first["msg"].replace("Value error, ", "", 1)
        raise InputError(
            f"{flag} {first['input']} cannot be used: {reason[:1].lower()}{reason[1:]}; "
            "see --help for what it takes"
        ) from None


def fill_loss_arguments(workload: Workload) -> Workload:
    """Add the loss's defaults. Raises InputError for an argument that is missing."""
    arguments = LOSS_ARGUMENTS.get(workload.loss, {})
    missing = {k: v for k, v in arguments.items() if getattr(workload, k) is None}
    for name, default in missing.items():
        if default is None:
            raise InputError(
                f"--loss {workload.loss} needs {name}; give {flag_of(name)}, or the key in the "
                "recipe file"
            )
    return workload.model_copy(update=missing)


def choose_loss(workload: Workload, dataset: DatasetInfo, is_given: bool) -> str:
    """The loss for the labels of a dataset: that of the user, else the one that fits.

    Raises InputError for a workload that cannot train on several labels a picture.
    """
    if not dataset.multi_label:
        return workload.loss
    if is_given and workload.loss != MULTI_LABEL_LOSS and ":" not in workload.loss:
        raise InputError(
            f"--loss {workload.loss} is for one class a picture, and a picture of {workload.data} "
            f"has several labels; give --loss {MULTI_LABEL_LOSS}, or leave it out"
        )
    if workload.readers > 1:
        raise InputError(
            f"the mean average precision of several labels cannot be added over {workload.readers} "
            f"ranks or readers; train on {workload.data} in one process"
        )
    return workload.loss if is_given else MULTI_LABEL_LOSS


def check_recipe(workload: Workload) -> None:
    """Raise InputError for the first part of the recipe that contradicts another."""
    for name in ("epochs", "steps_per_epoch", "batch_size", "image_size", "accumulation_steps"):
        if (getattr(workload, name) or 0) > MOST:
            given = f"{flag_of(name)} {getattr(workload, name)}"
            raise InputError(f"{given} is above {MOST:,}; give less")
    for is_wrong, message in _list_contradictions(workload):
        if is_wrong:
            raise InputError(message)
    _check_teacher(workload)
    if workload.load_checkpoint is not None:
        find_checkpoint(Path(workload.load_checkpoint))


def check_step(workload: Workload, given: Collection[str]) -> None:
    """Raise InputError for a `TrainingStep` that is not named, or with fields of images `given`."""
    if ":" not in workload.model:
        raise InputError(
            f"'{workload.model}' names no TrainingStep of your own; give package.module:object, "
            "such as my_file:gpt for my_file.py in this folder"
        )
    for name in sorted(IMAGE_FIELDS & set(given)):
        raise InputError(
            f"{flag_of(name)} {getattr(workload, name)} cannot be used with a TrainingStep, which "
            "says itself how its module, batches and loss are made; leave it out"
        )
    check_recipe(workload)


def check_choices(workload: Workload, given: Collection[str]) -> None:
    """Raise InputError for an unknown loss or optimizer, and for fields `given` but not read."""
    for kind, known in (("loss", LOSS_ARGUMENTS), ("optimizer", OPTIMIZERS)):
        name = getattr(workload, kind)
        if ":" not in name and name not in known:
            hint = suggest(name, known, "see docs/recipes.md")
            raise InputError(f"unknown {kind} '{name}'; {hint} (or package.module:function)")
    values = workload.model_dump()
    for field, decisive in list_unread(values).items():
        # synthetic data are in memory, which may be said
        if field in given and (field, values[field]) != ("feed", "memory"):
            raise InputError(
                f"{_spell(field, values[field])} has no effect with {flag_of(decisive)} "
                f"{values[decisive]}; leave it out"
            )


def _spell(field: str, value: Any) -> str:
    """As it is typed."""
    flag = flag_of(field)
    if isinstance(value, bool):
        return flag if value else f"--no-{flag[2:]}"
    return f"{flag} {','.join(map(str, value)) if isinstance(value, list) else value}"


def _list_contradictions(work: Workload) -> List[Tuple[bool, str]]:
    """Whether each holds, and its sentence."""
    epochs, is_multistep = work.lr_milestones, work.schedule == "multistep"
    is_rising = bool(epochs) and epochs == sorted(set(epochs)) and epochs[0] >= 1
    return [
        (
            "num_classes" in work.model_args,
            f"--model-arg num_classes={work.model_args.get('num_classes')} cannot be used; give "
            "--num-classes",
        ),
        (
            work.optimizer == "sgd" and work.nesterov and work.momentum == 0,
            "--nesterov needs a momentum above 0; give --momentum 0.9, or leave it out",
        ),
        (
            is_multistep and not is_rising,
            f"--lr-milestones {','.join(map(str, epochs)) or '(none)'} cannot be used; --schedule "
            "multistep needs rising epochs from 1, such as 60,120,160",
        ),
        (
            work.warmup_epochs > work.epochs,
            f"--warmup-epochs {work.warmup_epochs:g} is longer than the run of {work.epochs} "
            "epochs; give fewer",
        ),
        (
            work.data != STEP_DATA and work.batch_size % work.accumulation_steps > 0,
            f"--accumulation-steps {work.accumulation_steps} does not divide --batch-size "
            f"{work.batch_size}; the parts of a batch must be of one size",
        ),
        (
            work.accumulation_steps > 1 and work.feed == "graph",
            "--accumulation-steps splits a batch outside the graph, and --feed graph reads it "
            "inside; use --feed loader",
        ),
        (
            bool(work.resume and work.load_checkpoint),
            "--resume and --load-checkpoint both give the weights; leave one out",
        ),
        (
            bool(work.resume) and work.feed == "graph",
            "--resume skips the batches already taken, and a loader inside the graph cannot skip "
            "any; use --feed loader",
        ),
        (
            work.drop_head and not work.load_checkpoint,
            "--drop-head has no effect without --load-checkpoint; leave it out",
        ),
        (
            work.trust_checkpoint and not (work.load_checkpoint or work.teacher_checkpoint),
            "--trust-checkpoint has no effect without a checkpoint; leave it out",
        ),
    ]


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


def check_cores(ranks: int, usable_cores: int, oversubscribe: bool) -> None:
    """Raise InputError for more ranks on this machine than it has cores for."""
    if ranks > usable_cores and not oversubscribe:
        plural = "" if usable_cores == 1 else "s"
        raise InputError(
            f"{ranks} ranks on {usable_cores} usable core{plural} would take turns on them; use "
            f"{usable_cores} or less, or say --oversubscribe"
        )


def check_batches(workload: Workload, val_batch_size: Optional[int]) -> None:
    """Raise InputError for batches that the readers cannot share; None is chosen later."""
    readers = workload.readers
    for flag, size in (("--batch-size", workload.batch_size), ("--val-batch-size", val_batch_size)):
        if size is not None and size % readers:
            below, above = size // readers * readers, -(-size // readers) * readers
            multiples = f"{below} or {above}" if below else f"{above}"
            raise InputError(
                f"{flag} {size} cannot be shared evenly by {readers} ranks; give {multiples}"
            )
    steps = workload.accumulation_steps
    _check_parts(f"--accumulation-steps {steps}", workload.batch_size // readers, steps, readers)


def check_accumulation(workload: Workload, contenders: Sequence[Contender]) -> None:
    """Raise InputError for a contender that cannot split its batch into the parts it asks for."""
    for one in contenders:
        steps = one.accumulation_steps
        if steps is None or steps == 1:
            continue
        given = f"contender {one.name}: accumulation_steps={steps}"
        if workload.feed == "graph":
            raise InputError(
                f"{given} splits a batch that is given to the graph, and with --feed graph none "
                "is; use --feed loader"
            )
        batch_size = one.batch_size or workload.batch_size
        if workload.data != STEP_DATA:  # its batches are known to the worker alone
            _check_parts(given, batch_size // one.ranks, steps, one.ranks)


def _check_parts(given: str, images: int, steps: int, ranks: int) -> None:
    if images % steps:
        whose = "the batch" if ranks == 1 else f"the batch of each of {ranks} ranks"
        raise InputError(
            f"{given} does not divide {whose}, {images} images; give a --batch-size that is a "
            f"multiple of {ranks * steps}"
        )


def choose_val_batch_size(most: int, readers: int) -> int:
    """The largest that readers share of at most so many images. InputError for too few images."""
    if most < readers:
        raise InputError(
            f"the validation split has {most} images and each of {readers} ranks needs one; "
            f"use {most} ranks or less"
        )
    return most // readers * readers


def check_part_files(dataset: DatasetInfo, workload: Workload) -> None:
    """Raise InputError, with the command that mends it, for part files that cannot be shared.

    The embedded digits are resharded for each run, so their own parts do not matter.
    """
    if workload.readers == 1 or workload.data == EMBEDDED_DATA:
        return
    with raise_as_input(DataError):
        assign_parts(dataset, workload.readers)


def check_image_size(workload: Workload, spec: Optional[ModelSpec]) -> None:
    """Raise InputError for images that are too small for the model."""
    if spec and workload.image_size < spec.min_image_size:
        raise InputError(
            f"--image-size {workload.image_size} is too small for {workload.model}; "
            f"it needs at least {spec.min_image_size} pixels"
        )
