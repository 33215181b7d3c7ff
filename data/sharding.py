"""Which part files each of several ranks reads."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

from .errors import DataError
from .index import DatasetInfo, SplitInfo


@dataclass(frozen=True)
class RankParts:
    """The part files of one rank, in the order in which it reads them."""

    train: Tuple[Path, ...]
    val: Tuple[Path, ...]


def assign_parts(dataset: DatasetInfo, ranks: int) -> Tuple[RankParts, ...]:
    """The part files of each of `ranks` ranks, rank 0 first.

    Each has a run of equally many, which is what OneFlow's reader takes by itself in a process of a
    group. Where each rank has one part and `reshard_dataset` wrote them, the ranks' batches of a
    step are one batch of one process; docs/data.md says when and why not with more parts a rank.

    Raises DataError, with the number of parts to reshard to, for fewer part files than ranks and
    for part files that the ranks cannot share evenly; and for less than one rank.
    """
    if ranks < 1:
        raise DataError(f"{ranks} ranks cannot read {dataset.root}; give 1 or more")
    for split in (dataset.train, dataset.val):
        if len(split.part_files) % ranks:
            raise DataError(_refusal(dataset, split, ranks))
    return tuple(
        RankParts(_run(dataset.train, rank, ranks), _run(dataset.val, rank, ranks))
        for rank in range(ranks)
    )


def _run(split: SplitInfo, rank: int, ranks: int) -> Tuple[Path, ...]:
    each = len(split.part_files) // ranks
    return split.part_files[rank * each : (rank + 1) * each]


def _refusal(dataset: DatasetInfo, split: SplitInfo, ranks: int) -> str:
    parts = len(split.part_files)
    files = "1 part file" if parts == 1 else f"{parts} part files"
    wanted = f"{split.folder} has {files}, which {ranks} ranks cannot share evenly"
    most = min(dataset.train.num_samples, dataset.val.num_samples)
    if most < ranks:  # no number of parts would do: each part holds a record at least
        return f"{wanted}, and each rank needs an image of each split; use {most} ranks or less"
    root = shlex.quote(str(dataset.root))
    return f"{wanted}; run bench data reshard {root} --parts {ranks} --out DIR and use DIR instead"
