"""A dataset folder from which several readers read their own part files, in one process or many.

A reader of OneFlow 0.9.0 in a process of a group takes its rank's run of the folder's part files by
itself. So that reader r gives the same batches wherever it runs, its folder holds links to its own
part files over and over, one run for each reader: whichever run a process takes, and one that takes
them all, it is the same endless sequence of records.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Tuple

from .errors import DataError
from .index import INDEX_NAME, DatasetInfo, SplitInfo, load_dataset
from .ofrecord_file import count_records
from .sharding import assign_parts
from .writer import new_folder

READERS_FOLDER = "readers"


def share_dataset(dataset: DatasetInfo, readers: int, out_dir: Path) -> DatasetInfo:
    """Write a folder of links: the dataset, and beside it what each of `readers` readers reads.

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
    """What reader `reader` of `readers` reads of a dataset that `share_dataset` wrote.

    As a dataset: the counts are of its own samples, the part files the links to them. Of one reader
    it is the dataset itself. Raises DataError for a dataset that was not shared.
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
