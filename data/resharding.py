"""A dataset's records in another number of part files."""

from __future__ import annotations

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

from .errors import DataError
from .files import AnyPath
from .index import Progress, RecordCounter, SplitInfo, load_dataset, read_index, save_index
from .ofrecord_file import (
    PartWriter,
    describe_parts,
    list_values,
    open_parts,
    parse_record,
    read_messages,
    serialize_record,
)
from .validate import MAX_LABEL, validate_dataset
from .writer import check_target, new_folder

StageProgress = Callable[[str, int, int], None]  # (stage, records done, records in all)
# files open at a time: systems commonly allow 1,024, and ImageNet is often cut into as many parts
_OPEN_PARTS = 256


def reshard_dataset(
    path: AnyPath,
    parts: int,
    out_dir: AnyPath,
    on_progress: Optional[StageProgress] = None,
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
        on_progress=_stage("checking", on_progress),
    )
    lowest = min(_find_lowest_label(split) for split in checked.splits.values())
    if label_base and (checked.has_index or lowest != label_base):
        raise DataError(
            f"--label-base {label_base} does not fit {path}, whose labels begin at {lowest}"
            f"{' and are named by its index' * checked.has_index}; leave it out or give {lowest}"
        )
    counter = RecordCounter(checked.num_samples, _stage("writing", on_progress))
    with new_folder(out_dir) as folder:
        written = {
            name: _write_split(split, folder / name, parts, counter, label_base)
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


def _stage(name: str, on_progress: Optional[StageProgress]) -> Optional[Progress]:
    return partial(on_progress, name) if on_progress else None


def _find_lowest_label(split: SplitInfo) -> int:
    return next((label for label, images in enumerate(split.class_counts or ()) if images), 0)


def _write_split(
    split: SplitInfo, folder: Path, parts: int, counter: RecordCounter, label_base: int
) -> Dict[str, Any]:
    folder.mkdir()
    written: List[PartWriter] = []
    for first in range(0, parts, _OPEN_PARTS):
        numbers = range(first, min(first + _OPEN_PARTS, parts))
        with open_parts(folder, numbers) as writers:
            messages = chain.from_iterable(map(read_messages, split.part_files))
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
