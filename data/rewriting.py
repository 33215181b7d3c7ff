"""Datasets made of another's records: fewer of each class, or for readers.

A reader of OneFlow 0.9.0 in a process of a group takes its rank's run of the folder's part files by
itself. Reader r has to give the same batches wherever it runs. So its folder holds links to its own
part files over and over, one run for each reader. Each of these runs, and all of them together, are
the same endless sequence of records.
"""

from __future__ import annotations

import random
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

from .errors import DataError
from .files import AnyPath
from .index import (
    INDEX_NAME,
    DatasetInfo,
    SampleTotals,
    SplitInfo,
    load_dataset,
    read_index,
    save_index,
)
from .ofrecord_file import (
    Record,
    count_records,
    describe_parts,
    open_parts,
    parse_record,
    read_messages,
)
from .pictures import read_jpeg_size
from .writer import new_folder

Position = Tuple[int, int]  # part file, record in it
READERS_FOLDER = "readers"


def count_subset(class_counts: Sequence[int], percent: float) -> List[int]:
    """Samples of each class in a subset: `percent` of them, rounded down, one at least."""
    return [max(1, int(count * percent / 100)) if count else 0 for count in class_counts]


def write_subset(dataset: DatasetInfo, percent: float, seed: int, out_dir: AnyPath) -> DatasetInfo:
    """Write a dataset whose training split is `percent` of that of `dataset`.

    The samples of each class are drawn from `seed`, so that the classes keep their shares. Samples
    keep their order. The validation split is linked, and the statistics are those of the whole.
    The dataset must have been validated. Raises DataError for a target that is not empty.
    """
    chosen = _choose(dataset, percent, seed)
    with new_folder(Path(out_dir)) as folder:
        stored = _write_train(dataset, chosen, folder / "train")
        val = dataset.val.folder.resolve()
        (folder / val.name).symlink_to(val, target_is_directory=True)
        if dataset.has_index:
            index = read_index(dataset.root)
            index["name"] = f"{dataset.name}, {percent:g} % of the training split"
            index["splits"]["train"] = stored
            save_index(folder, index)
    return load_dataset(Path(out_dir))


def _records(dataset: DatasetInfo) -> Iterator[Tuple[Position, Record]]:
    """(position, record) of the training split, in order."""
    for part, path in enumerate(dataset.train.part_files):
        for number, message in enumerate(read_messages(path)):
            where = f"{path}: record {number}"
            yield (part, number), parse_record(message, where, dataset.labels)


def _choose(dataset: DatasetInfo, percent: float, seed: int) -> Set[Position]:
    by_class: Dict[int, List[Position]] = {}
    for position, record in _records(dataset):
        group = record.label if isinstance(record.label, int) else 0  # of several labels: all
        by_class.setdefault(group, []).append(position)
    source = random.Random(seed)
    chosen: Set[Position] = set()
    for label in sorted(by_class):
        (count,) = count_subset([len(by_class[label])], percent)
        chosen.update(source.sample(by_class[label], count))
    return chosen


def _write_train(dataset: DatasetInfo, chosen: Set[Position], folder: Path) -> Dict[str, Any]:
    folder.mkdir()
    parts = min(len(dataset.train.part_files), len(chosen))
    totals = SampleTotals()
    with open_parts(folder, range(parts)) as writers:
        for position, record in _records(dataset):
            if position in chosen:
                writers[totals.num_samples % parts].write(record)
                totals.add(record.label, read_jpeg_size(record.encoded))
    return {**totals.describe(max(len(dataset.classes), 1)), **describe_parts(writers)}


class RankParts(NamedTuple):
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
    for split in dataset.splits.values():
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


def share_dataset(dataset: DatasetInfo, readers: int, out_dir: AnyPath) -> DatasetInfo:
    """Write a folder of links: to the dataset, and to the part files of each of `readers` readers.

    The dataset must have been validated. Raises DataError for part files that the readers cannot
    share evenly, as `assign_parts` does, and for a target that is not empty.
    """
    assigned = assign_parts(dataset, readers)
    with new_folder(Path(out_dir)) as folder:
        for split in dataset.splits.values():
            (folder / split.folder.name).symlink_to(split.folder.resolve(), True)
        if dataset.has_index:
            (folder / INDEX_NAME).symlink_to((dataset.root / INDEX_NAME).resolve())
        for reader, shares in enumerate(assigned):
            for split, parts in zip(dataset.splits.values(), shares):
                _link_parts(split, parts, folder / READERS_FOLDER / str(reader), readers)
    return load_dataset(Path(out_dir))


def _link_parts(split: SplitInfo, parts: Tuple[Path, ...], own: Path, readers: int) -> None:
    folder = own / split.folder.name
    folder.mkdir(parents=True)
    for name, part in zip(split.part_files, parts * readers):
        (folder / name.name).symlink_to(part.resolve())


def take_share(dataset: DatasetInfo, reader: int, readers: int) -> DatasetInfo:
    """The part of a dataset from `share_dataset` that reader `reader` of `readers` reads.

    It is a dataset with the counts of its own samples and the links to them as part files. For one
    reader it is the dataset itself. Raises DataError for a dataset that was not shared.
    """
    if readers == 1:
        return dataset
    own = dataset.root / READERS_FOLDER / str(reader)
    train, val = (
        _take(split, parts, own, readers)
        for split, parts in zip(dataset.splits.values(), assign_parts(dataset, readers)[reader])
    )
    return replace(dataset, train=train, val=val)


def _take(split: SplitInfo, parts: Tuple[Path, ...], own: Path, readers: int) -> SplitInfo:
    folder = own / split.folder.name
    links = tuple(folder / path.name for path in split.part_files)
    if not all(link.exists() for link in links):
        raise DataError(
            f"{folder} does not hold the part files of one of {readers} readers; "
            "write the folder with share_dataset and leave it alone"
        )
    known = {path: part.num_samples for path, part in zip(split.part_files, split.parts)}
    return replace(
        split,
        folder=folder,
        part_files=links,
        num_samples=sum(known.get(path) or count_records(path) for path in parts),
        class_counts=None,
        parts=(),
    )
