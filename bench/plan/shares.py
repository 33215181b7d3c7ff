"""What several ranks share evenly: cores, batches, part files. Refused before anything runs."""

from __future__ import annotations

from typing import Optional, Sequence

from ...data import DataError, DatasetInfo, assign_parts
from ..config import EMBEDDED_DATA, Contender, Workload
from ..errors import InputError


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
