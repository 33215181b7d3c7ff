"""Refuses recipes whose parts do not fit together, and work that ranks cannot share evenly.

Everything here runs before anything is started.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from pydantic import BaseModel, ValidationError

from ...data import DataError, DatasetInfo, assign_parts
from ...models import UnknownModelError, get_model_spec
from ..config import (
    EMBEDDED_DATA,
    LOSS_ARGUMENTS,
    LOSS_FIELDS,
    SYNTHETIC_DATA,
    TEACHER_LOSSES,
    Contender,
    Workload,
)
from ..errors import InputError
from ..record.checkpoint import find_checkpoint


def flag_of(field: str) -> str:
    """The flag of a workload field: the same word, but for the readers, one for each rank."""
    if field == "readers":
        return "--ranks"
    return "--" + field.replace("_", "-")


def validated(kind: Any, values: Dict[str, Any]) -> Any:
    """An instance of a configuration class; InputError naming the flag that does not fit."""
    assert issubclass(kind, BaseModel)
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
    if ":" in workload.loss:
        taken: Any = {}
    elif workload.loss in LOSS_ARGUMENTS:
        taken = LOSS_ARGUMENTS[workload.loss]
    else:
        close = difflib.get_close_matches(workload.loss, LOSS_ARGUMENTS, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else "see docs/recipes.md"
        raise InputError(f"unknown loss '{workload.loss}'; {hint} (or package.module:function)")
    values = {}
    for name in LOSS_FIELDS:
        given = getattr(workload, name)
        if name not in taken and given is not None:
            raise InputError(
                f"{flag_of(name)} {given:g} has no effect with --loss {workload.loss}; leave it out"
            )
        if name in taken and given is None:
            if taken[name] is None:
                raise InputError(
                    f"--loss {workload.loss} needs {name}; give {flag_of(name)}, or the key in the "
                    "recipe file"
                )
            values[name] = taken[name]
    return workload.model_copy(update=values)


def check_recipe(workload: Workload) -> None:
    """Raise InputError for the first part of the recipe that contradicts another."""
    checks: List[Callable[[Workload], None]] = [
        _check_teacher,
        _check_optimizer,
        _check_schedule,
        _check_batch,
        _check_checkpoints,
    ]
    for check in checks:
        check(workload)


def _check_teacher(workload: Workload) -> None:
    needs = workload.loss in TEACHER_LOSSES
    if needs and workload.teacher is None:
        raise InputError(f"--loss {workload.loss} needs teacher; give --teacher MODEL")
    if not needs:
        for field in ("teacher", "teacher_checkpoint"):
            if getattr(workload, field) is not None:
                raise InputError(
                    f"{flag_of(field)} has no effect with --loss {workload.loss}; use --loss "
                    f"{' or '.join(TEACHER_LOSSES)}, or leave it out"
                )
        return
    if workload.teacher_checkpoint is None:
        raise InputError(
            f"--teacher {workload.teacher} needs teacher_checkpoint; train it with bench eager "
            f"--model {workload.teacher} and give --teacher-checkpoint its run folder"
        )
    find_checkpoint(Path(workload.teacher_checkpoint))
    assert workload.teacher is not None
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
            f"--nesterov needs --optimizer sgd with a momentum above 0, and "
            f"{workload.optimizer} with momentum {workload.momentum:g} was given"
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
            f"{workload.epochs} epochs; give at most that"
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
            "--accumulation-steps splits a batch that is given to the graph, and with --feed graph "
            "none is; use --feed loader"
        )
    if workload.subset_percent < 100 and workload.data == SYNTHETIC_DATA:
        raise InputError("--subset-percent needs a dataset, and synthetic data are no part of one")


def _check_checkpoints(workload: Workload) -> None:
    if workload.load_checkpoint is not None:
        find_checkpoint(Path(workload.load_checkpoint))
    if workload.resume and workload.load_checkpoint:
        raise InputError("--resume and --load-checkpoint both say where to start; leave one out")
    if workload.resume and workload.feed == "graph":
        raise InputError(
            "--resume goes on behind the batches already taken, which a loader inside the graph "
            "cannot skip; use --feed loader"
        )
    if workload.drop_head and not workload.load_checkpoint:
        raise InputError("--drop-head has no effect without --load-checkpoint; leave it out")
    if workload.trust_checkpoint and not (workload.load_checkpoint or workload.teacher_checkpoint):
        raise InputError("--trust-checkpoint has no effect without a checkpoint; leave it out")


def check_cores(ranks: int, usable_cores: int, oversubscribe: bool) -> None:
    """Raise InputError for more ranks on this machine than it has cores for."""
    if ranks > usable_cores and not oversubscribe:
        plural = "" if usable_cores == 1 else "s"
        raise InputError(
            f"{ranks} ranks on {usable_cores} usable core{plural} would take turns on them; use "
            f"{usable_cores} or less, or say --oversubscribe"
        )


def check_batches(workload: Workload, val_batch_size: Optional[int]) -> None:
    """Raise InputError where the readers cannot take equal shares of a batch.

    `val_batch_size` is None where it was not given and is chosen.
    """
    readers = workload.readers
    for flag, size in (("--batch-size", workload.batch_size), ("--val-batch-size", val_batch_size)):
        if size is not None and size % readers:
            raise InputError(
                f"{flag} {size} cannot be shared evenly by {readers} ranks; "
                f"give {_name_multiples(size, readers)}"
            )
    _check_parts(
        f"--accumulation-steps {workload.accumulation_steps}",
        workload.batch_size // readers,
        workload.accumulation_steps,
        readers,
    )


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
        _check_parts(given, batch_size // one.ranks, steps, one.ranks)


def _check_parts(given: str, images: int, steps: int, ranks: int) -> None:
    if images % steps:
        whose = "the batch" if ranks == 1 else f"the batch of each of {ranks} ranks"
        raise InputError(
            f"{given} does not divide {whose}, {images} images; give a --batch-size that is a "
            f"multiple of {ranks * steps}"
        )


def choose_val_batch_size(most: int, readers: int) -> int:
    """The largest validation batch of `most` images or less that the readers share evenly.

    Raises InputError where there are fewer images than readers.
    """
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
    try:
        assign_parts(dataset, workload.readers)
    except DataError as error:
        raise InputError(str(error)) from None


def _name_multiples(size: int, readers: int) -> str:
    below, above = size // readers * readers, -(-size // readers) * readers
    return f"{below} or {above}" if below else f"{above}"
