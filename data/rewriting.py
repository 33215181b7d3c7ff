"""Datasets made of another's records: in other part files, fewer of each class, or for readers.

A reader of OneFlow 0.9.0 in a process of a group takes its rank's run of the folder's part files by
itself. Reader r has to give the same batches wherever it runs. So its folder holds links to its own
part files over and over, one run for each reader. Each of these runs, and all of them together, are
the same endless sequence of records.
"""

from __future__ import annotations

import random
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

from .errors import DataError
from .files import AnyPath
from .index import (
    INDEX_NAME,
    DatasetInfo,
    RecordCounter,
    SampleTotals,
    SplitInfo,
    load_dataset,
    read_index,
    save_index,
)
from .ofrecord_file import (
    PartWriter,
    Record,
    count_records,
    describe_parts,
    list_values,
    open_parts,
    parse_record,
    read_messages,
    serialize_record,
)
from .pictures import read_jpeg_size
from .validate import MAX_LABEL, validate_dataset
from .writer import check_target, new_folder

Position = Tuple[int, int]  # part file, record in it
READERS_FOLDER = "readers"
StageProgress = Callable[[str, int, int], None]  # (stage, records done, records in all)
# files open at a time: systems commonly allow 1,024, and ImageNet is often cut into as many parts
_OPEN_PARTS = 256


def reshard_dataset(
    path: AnyPath,
    parts: int,
    out_dir: AnyPath,
    on_progress: StageProgress = lambda stage, done, total: None,
    label_base: int = 0,
) -> Dict[str, Any]:
    """Write the dataset at `path` again, as `parts` part files for each split.

    Record i of a split, in the order in which one reader gives them (part after part), goes to part
    i mod `parts`, its message byte for byte. So the next b records of each of `parts` readers
    together are the next `parts` * b records of one reader of `path`. A `label_base` above 0 is
    taken off each label. An index is carried over with the checksums of the new parts. All is
    written to a folder beside `out_dir` and renamed at the end.

    Returns a description ready for JSON, with the splits as in an index. Raises DataError for
    a target that is not empty or lies in `path`, less than one part, more parts than samples, a
    label below `label_base`, an index beside it, and all that `validate_dataset` refuses.
    """
    path, out_dir = Path(path), Path(out_dir)
    check_target(out_dir, path)
    if parts < 1:
        raise DataError(f"{parts} part files cannot hold a dataset; give --parts 1 or more")
    dataset = load_dataset(path)
    fewest = min(dataset.splits.values(), key=lambda split: split.num_samples)
    if fewest.num_samples < parts:
        raise DataError(
            f"{fewest.folder} has {fewest.num_samples} images for {parts} part files; "
            f"give --parts {fewest.num_samples} or less"
        )
    # the least batch and image size, since only the part files are to be checked
    checked = validate_dataset(
        path,
        num_classes=dataset.num_classes or MAX_LABEL + 1,
        image_size=1,
        batch_size=1,
        on_progress=partial(on_progress, "checking"),
    )
    counts = [split.class_counts or () for split in checked.splits.values()]
    used = (label for split in counts for label, images in enumerate(split) if images)
    lowest = min(used, default=0)
    if label_base and (checked.has_index or lowest != label_base):
        raise DataError(
            f"--label-base {label_base} does not fit {path}, whose labels begin at {lowest}"
            f"{' and are named by its index' * checked.has_index}; leave it out or give {lowest}"
        )
    counter = RecordCounter(checked.num_samples, partial(on_progress, "writing"))
    with new_folder(out_dir) as folder:
        written = {
            name: _write_parts(split, folder / name, parts, counter, label_base)
            for name, split in checked.splits.items()
        }
        if checked.has_index:
            index = read_index(checked.root)
            for name, described in written.items():
                index["splits"][name].update(described)
            save_index(folder, index)
    return {
        "name": load_dataset(out_dir).name,
        "path": str(out_dir),
        "source": str(path),
        "index": checked.has_index,
        "splits": written,
    }


def _write_parts(
    split: SplitInfo, folder: Path, parts: int, counter: RecordCounter, label_base: int
) -> Dict[str, Any]:
    folder.mkdir()
    written: List[PartWriter] = []
    for first in range(0, parts, _OPEN_PARTS):
        numbers = range(first, min(first + _OPEN_PARTS, parts))
        with open_parts(folder, numbers) as writers:
            messages = (message for path in split.part_files for message in read_messages(path))
            for position, message in enumerate(messages):
                if position % parts in numbers:
                    if label_base:
                        record = parse_record(message, f"record {position} of {split.folder}")
                        lowered = tuple(label - label_base for label in list_values(record.label))
                        message = serialize_record(record._replace(label=lowered))
                    writers[position % parts - first].write_message(message)
                    counter.add()
        written += writers
    described = describe_parts(written)
    copied = sum(part["num_samples"] for part in described["parts"])
    if copied != split.num_samples:
        raise DataError(
            f"{split.folder} gave {copied} records and had {split.num_samples} when it was "
            "checked; leave it alone while it is copied and reshard it again"
        )
    return {"num_samples": copied, **described}


def count_subset(class_counts: Sequence[int], percent: float) -> List[int]:
    """Samples of each class in a subset: `percent` of them, rounded down, one at least."""
    return [max(1, int(count * percent / 100)) if count else 0 for count in class_counts]


def write_subset(dataset: DatasetInfo, percent: float, seed: int, out_dir: AnyPath) -> DatasetInfo:
    """Write a dataset whose training split is `percent` of that of `dataset`.

    The samples of each class are drawn from `seed`, so that the classes keep their shares. Samples
    keep their order. The validation split is linked, and the statistics are those of the whole.
    The dataset must have been validated. Raises DataError for a target that is not empty.
    """
    with new_folder(Path(out_dir)) as folder:
        stored = _write_train(dataset, _choose(dataset, percent, seed), folder / "train")
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
                own = folder / READERS_FOLDER / str(reader) / split.folder.name
                own.mkdir(parents=True)
                for name, part in zip(split.part_files, parts * readers):
                    (own / name.name).symlink_to(part.resolve())
    return load_dataset(Path(out_dir))


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
