"""A part of a dataset's training split, drawn per class; the validation split stays whole."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any, Dict, List, Sequence, Set, Tuple

from PIL import Image

from .index import INDEX_NAME, DatasetInfo, load_dataset
from .ofrecord_file import Record, parse_record, read_messages
from .part_writer import describe_parts, open_parts
from .writer import new_folder, save_index

Position = Tuple[int, int]  # part file, record in it


def count_subset(class_counts: Sequence[int], percent: float) -> List[int]:
    """Samples of each class in a subset: `percent` of them, rounded down, one at least."""
    return [max(1, int(count * percent / 100)) if count else 0 for count in class_counts]


def write_subset(dataset: DatasetInfo, percent: float, seed: int, out_dir: Path) -> DatasetInfo:
    """Write a dataset whose training split is `percent` of that of `dataset`.

    Which samples is drawn from `seed`, for each class alone, so that the classes keep their shares;
    samples keep their order. The validation split is linked, the statistics are those of the whole.
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


def _records(dataset: DatasetInfo) -> Any:
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
    counts = [0] * max(len(dataset.classes), 1)
    sizes: List[Tuple[int, int]] = []
    with open_parts(folder, range(parts)) as writers:
        for position, record in _records(dataset):
            if position in chosen:
                writers[len(sizes) % parts].write(Record(record.encoded, record.label))
                sizes.append(Image.open(io.BytesIO(record.encoded)).size)
                counts += [0] * (record.label + 1 - len(counts))
                counts[record.label] += 1
    return {
        "num_samples": len(sizes),
        "class_counts": counts,
        "min_image_size": [min(size[axis] for size in sizes) for axis in (0, 1)],
        "max_image_size": [max(size[axis] for size in sizes) for axis in (0, 1)],
        **describe_parts(writers),
    }
