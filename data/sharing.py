"""Part files for several readers: which each reads, and a folder from which they read their own.

A reader of OneFlow 0.9.0 in a process of a group takes its rank's run of the folder's part files by
itself. Reader r has to give the same batches wherever it runs. So its folder holds links to its own
part files over and over, one run for each reader. Each of these runs, and all of them together, are
the same endless sequence of records.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Tuple

from .errors import DataError
from .index import INDEX_NAME, DatasetInfo, SplitInfo, load_dataset
from .ofrecord_file import count_records
from .writer import new_folder


@dataclass(frozen=True)
class RankParts:
    """The part files of one rank, in the order in which it reads them."""

    train: Tuple[Path, ...]
    val: Tuple[Path, ...]


def assign_parts(dataset: DatasetInfo, ranks: int) -> Tuple[RankParts, ...]:
    """The part files of each of `ranks` ranks, rank 0 first.

    Each has a run of equally many, as OneFlow's reader takes by itself in a process of a group. If
    each rank has one part that `reshard_dataset` wrote, the ranks' batches of a step are together
    one batch of one process. docs/data.md explains this, and why not with more parts a rank.

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


READERS_FOLDER = "readers"


def share_dataset(dataset: DatasetInfo, readers: int, out_dir: Path) -> DatasetInfo:
    """Write a folder of links: to the dataset, and to the part files of each of `readers` readers.

    The dataset must have been validated. Raises DataError for part files that the readers cannot
    share evenly, as `assign_parts` does, and for a target that is not empty.
    """
    assigned = assign_parts(dataset, readers)
    with new_folder(Path(out_dir)) as folder:
        for split in (dataset.train, dataset.val):
            (folder / split.folder.name).symlink_to(split.folder.resolve(), True)
        if dataset.has_index:
            (folder / INDEX_NAME).symlink_to((dataset.root / INDEX_NAME).resolve())
        for reader, parts in enumerate(assigned):
            own = folder / READERS_FOLDER / str(reader)
            _link_parts(dataset.train, parts.train, readers, own)
            _link_parts(dataset.val, parts.val, readers, own)
    return load_dataset(Path(out_dir))


def _link_parts(split: SplitInfo, parts: Tuple[Path, ...], readers: int, own: Path) -> None:
    folder = own / split.folder.name
    folder.mkdir(parents=True)
    for number in range(len(parts) * readers):
        link = folder / f"part-{number:0{max(split.part_name_suffix_length, 1)}d}"
        link.symlink_to(parts[number % len(parts)].resolve())


def take_share(dataset: DatasetInfo, reader: int, readers: int) -> DatasetInfo:
    """The part of a dataset from `share_dataset` that reader `reader` of `readers` reads.

    It is a dataset with the counts of its own samples and the links to them as part files. For one
    reader it is the dataset itself. Raises DataError for a dataset that was not shared.
    """
    if readers == 1:
        return dataset
    parts = assign_parts(dataset, readers)[reader]
    own = dataset.root / READERS_FOLDER / str(reader)
    return replace(
        dataset,
        train=_take(dataset.train, parts.train, readers, own),
        val=_take(dataset.val, parts.val, readers, own),
    )


def _take(split: SplitInfo, parts: Tuple[Path, ...], readers: int, own: Path) -> SplitInfo:
    folder = own / split.folder.name
    links = tuple(folder / path.name for path in split.part_files[: len(parts) * readers])
    if not all(link.exists() for link in links):
        raise DataError(
            f"{folder} does not hold the part files of one of {readers} readers; "
            "write the folder with share_dataset and leave it alone"
        )
    return replace(
        split,
        folder=folder,
        part_files=links,
        num_samples=sum(_count(split, path) for path in parts),
        checksum=None,
        class_counts=None,
        parts=(),
    )


def _count(split: SplitInfo, path: Path) -> int:
    if split.parts:
        return split.parts[split.part_files.index(path)].num_samples
    return count_records(path)
