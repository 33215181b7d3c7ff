"""Datasets made of another's records: in another number of part files, or fewer of each class."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from PIL import Image

from .errors import DataError
from .index import INDEX_NAME, DatasetInfo, SampleTotals, SplitInfo, load_dataset
from .ofrecord_file import (
    PartWriter,
    Record,
    describe_parts,
    open_parts,
    parse_record,
    read_messages,
)
from .validate import RecordCounter, validate_dataset
from .writer import check_target, new_folder, save_index

StageProgress = Callable[[str, int, int], None]  # (stage, records done, records in all)
# files open at a time: systems commonly allow 1,024, and ImageNet is often cut into as many parts
_OPEN_PARTS = 256


def reshard_dataset(
    path: Path, parts: int, out_dir: Path, on_progress: Optional[StageProgress] = None
) -> Dict[str, Any]:
    """Write the dataset at `path` again, as `parts` part files for each split.

    Record i of a split, in the order in which one reader gives them (part after part), goes to part
    i mod `parts`, its message byte for byte. So the next b records of each of `parts` readers
    together are the next `parts` * b records of one reader of `path`. An index is carried over with
    the checksums of the new parts. All is written to a folder beside `out_dir` and renamed at the
    end.

    Returns a description ready for JSON, with the splits as in an index. Raises DataError for
    a target that is not empty, less than one part, more parts than samples, and all that
    `validate_dataset` refuses.
    """
    check_target(out_dir)
    if parts < 1:
        raise DataError(f"{parts} part files cannot hold a dataset; give --parts 1 or more")
    dataset = load_dataset(path)
    for split in (dataset.train, dataset.val):
        if split.num_samples < parts:
            raise DataError(
                f"{split.folder} has {split.num_samples} images for {parts} part files; "
                f"give --parts {min(dataset.train.num_samples, dataset.val.num_samples)} or less"
            )
    # the least batch and image size, since only the part files are to be checked
    checked = validate_dataset(
        path, image_size=1, batch_size=1, on_progress=_stage("checking", on_progress)
    )
    total = checked.train.num_samples + checked.val.num_samples
    counter = RecordCounter(total, _stage("writing", on_progress))
    with new_folder(out_dir) as folder:
        written = {
            "train": _write_split(checked.train, folder / "train", parts, counter),
            "val": _write_split(checked.val, folder / "val", parts, counter),
        }
        if checked.has_index:
            _carry_index(checked, written, folder)
    return {
        "name": load_dataset(out_dir).name,
        "path": str(out_dir),
        "source": str(path),
        "index": checked.has_index,
        "splits": written,
    }


def _stage(name: str, on_progress: Optional[StageProgress]) -> Optional[Callable[[int, int], None]]:
    if on_progress is None:
        return None
    report = on_progress
    return lambda done, total: report(name, done, total)


def _write_split(
    split: SplitInfo, folder: Path, parts: int, counter: RecordCounter
) -> Dict[str, Any]:
    folder.mkdir()
    written: List[PartWriter] = []
    for first in range(0, parts, _OPEN_PARTS):
        numbers = range(first, min(first + _OPEN_PARTS, parts))
        with open_parts(folder, numbers) as writers:
            for position, message in enumerate(_messages(split)):
                if position % parts in numbers:
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


def _messages(split: SplitInfo) -> Iterator[bytes]:
    for part in split.part_files:
        yield from read_messages(part)


def _carry_index(dataset: DatasetInfo, written: Dict[str, Any], folder: Path) -> None:
    """The index of the source, with the fields of the new part files."""
    index = json.loads((dataset.root / INDEX_NAME).read_text(encoding="utf-8"))
    for split, described in written.items():
        index["splits"][split].update(described)
    save_index(folder, index)


Position = Tuple[int, int]  # part file, record in it


def count_subset(class_counts: Sequence[int], percent: float) -> List[int]:
    """Samples of each class in a subset: `percent` of them, rounded down, one at least."""
    return [max(1, int(count * percent / 100)) if count else 0 for count in class_counts]


def write_subset(dataset: DatasetInfo, percent: float, seed: int, out_dir: Path) -> DatasetInfo:
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
            index = json.loads((dataset.root / INDEX_NAME).read_text(encoding="utf-8"))
            index["name"] = f"{dataset.name}, {percent:g} % of the training split"
            index["splits"]["train"] = stored
            save_index(folder, index)
    return load_dataset(Path(out_dir))


def _records(dataset: DatasetInfo) -> Iterator[Tuple[Position, Record]]:
    """(position, record) of the training split, in order."""
    for part, path in enumerate(dataset.train.part_files):
        for number, message in enumerate(read_messages(path)):
            yield (part, number), parse_record(message, f"{path}: record {number}")


def _choose(dataset: DatasetInfo, percent: float, seed: int) -> Set[Position]:
    by_class: Dict[int, List[Position]] = {}
    for position, record in _records(dataset):
        by_class.setdefault(record.label, []).append(position)
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
                totals.add(record.label, Image.open(io.BytesIO(record.encoded)).size)
    return {**totals.describe(max(len(dataset.classes), 1)), **describe_parts(writers)}
