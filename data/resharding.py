"""The records of a dataset in another number of part files, so that each rank has its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

from .errors import DataError
from .index import INDEX_NAME, DatasetInfo, SplitInfo, load_dataset
from .ofrecord_file import read_messages
from .part_writer import PartWriter, describe_parts, open_parts
from .validate import RecordCounter, validate_dataset
from .writer import check_target, new_folder, save_index

StageProgress = Callable[[str, int, int], None]  # (what is done, records done, records in all)
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

    Returns what was written, ready for JSON, the splits as an index has them. Raises DataError for
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
    # the least that can be asked of a batch or an image: what is wanted is a look at every part
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
    """The index of the source, in which only what speaks of part files differs."""
    index = json.loads((dataset.root / INDEX_NAME).read_text(encoding="utf-8"))
    for split, described in written.items():
        index["splits"][split].update(described)
    save_index(folder, index)
