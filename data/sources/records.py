"""OFRecord files that others wrote, with names of their own for picture and label."""

from __future__ import annotations

from pathlib import Path
from typing import List, Tuple

from ..errors import DataError
from ..index import INDEX_NAME, find_parts
from ..ofrecord_file import IMAGE_KEY, LABEL_KEY, Label, parse_values, read_placed_messages
from . import Choices, Labelled, Source, StoredPicture, choose_val, list_names
from .folders import find_splits
from .labels import number_labels

_MOST_BITS = 1 << 28
Row = Tuple[StoredPicture, Tuple[int, ...]]


def is_ofrecord(path: Path) -> bool:
    folders = [*find_splits(path).values(), path]
    return any(name.startswith("part-") for folder in folders for name in list_names(folder))


def read_ofrecord(root: Path, choices: Choices) -> Source:
    """The records of a folder with train/ and val/, or with the part files themselves.

    A record has one label, or several: equally many of 0 and 1, or the numbers of those that hold.
    Raises DataError for a dataset with an index, and for records without the keys.
    """
    if (root / INDEX_NAME).is_file():
        raise DataError(
            f"{root} is a dataset of this suite already; give it to --data, or see "
            "bench data reshard"
        )
    folders = {"train": root, **find_splits(root)}
    splits = {
        name: _read_rows(folder, choices)
        for name, folder in choose_val(folders, root, choices.on_note).items()
    }
    rows = [[labels for _, labels in split] for split in splits.values()]
    multi_label = any(len(labels) != 1 for split in rows for labels in split)
    if multi_label:
        classes, numbered = _number_lists(rows, choices, root)
    else:
        flat = [[labels[0] for labels in split] for split in rows]
        classes, numbers = number_labels(flat, choices.label_base, str(root))
        numbered = [list(split) for split in numbers]
    labelled = {
        name: [Labelled(picture, label) for (picture, _), label in zip(split, labels)]
        for (name, split), labels in zip(splits.items(), numbered)
    }
    return Source("OFRecord files", classes, labelled, crops=True, multi_label=multi_label)


def _read_rows(folder: Path, choices: Choices) -> List[Row]:
    keys = (choices.image_key or IMAGE_KEY, choices.label_key or LABEL_KEY)
    found: List[Row] = []
    for path in find_parts(folder)[0]:
        for number, (offset, message) in enumerate(read_placed_messages(path)):
            where = f"{path}: record {number}"
            _, labels = parse_values(message, where, *keys)
            found.append((StoredPicture(str(path), offset, keys), labels))
    return found


def _number_lists(
    rows: List[List[Tuple[int, ...]]], choices: Choices, root: Path
) -> Tuple[List[str], List[List[Label]]]:
    """Names of the labels, and 0 or 1 for each of them."""
    every = [labels for split in rows for labels in split]
    width = len(every[0])
    if width > 1 and all(len(one) == width and set(one) <= {0, 1} for one in every):
        return [str(label) for label in range(width)], [list(split) for split in rows]
    flat = [[label for labels in split for label in labels] for split in rows]
    names, _ = number_labels(flat, choices.label_base, str(root))
    low = int(names[0])
    if len(names) * len(every) > _MOST_BITS:
        raise DataError(f"the labels of {root} go up to {names[-1]}, which are too many for lists")
    return names, [
        [tuple(int(low + n in labels) for n in range(len(names))) for labels in map(set, split)]
        for split in rows
    ]
