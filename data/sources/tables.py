"""CSV files: of paths and labels, and of the pixels of faces with their expression.

Labels are a column of names, a column of lists of names (`cat|dog`), or a column of 0 and 1 for
each label. The face set has `emotion`, `pixels` (48 x 48 grey values) and `Usage`.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from ..errors import DataError
from ..ofrecord_file import Label
from . import Choices, Labelled, Row, Source, choose_val, group_rows, list_names, name_some
from .cells import Table, find_tables, list_csv_names, read_table_file
from .folders import note_unlisted
from .labels import list_classes

_PATHS = ("path", "filepath", "file", "filename", "file_name", "image", "image_path", "image_name",
          "img", "image_id", "id")  # fmt: skip
_LABELS = ("label", "labels", "class", "class_name", "target", "category", "tags")
_SPLITS = ("split", "usage", "set", "subset")
_SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "publictest": "val",
    "test": "test", "testing": "test", "privatetest": "test",
}  # fmt: skip
_LISTS = {"labels": "|;,", "tags": "|;, "}  # what may stand between the labels of a cell
_BITS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "-1": 0}
_EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_FACE_COLUMNS = ("emotion", "pixels", "usage")


def is_table(path: Path) -> bool:
    return bool(find_tables(path))


def is_faces(path: Path) -> bool:
    file = find_tables(path).get("")
    if file is None or not file.is_file():
        return False
    try:
        with open(file, "rb") as start:
            head = start.readline(1000).decode("utf-8", "replace")
    except OSError:
        return False
    return set(_FACE_COLUMNS) <= set(re.findall(r"\w+", head.lower()))


def read_table(path: Path, choices: Choices) -> Source:
    """Pictures and labels of the columns that are known by name, or that `choices` names.

    Paths lie in the CSV's folder, whose pictures without a row are noted. A column of splits, or a
    file for each, gives the splits. A row that comes twice is kept once. Raises DataError for
    columns that are not found, cells that are no labels, rows that contradict each other, paths to
    other folders, and a folder without the first picture.
    """
    tables = {split: read_table_file(file) for split, file in find_tables(path).items()}
    if not tables:
        raise DataError(f"{path} {_count_csvs(path)}; give the CSV file itself")
    first = next(iter(tables.values()))
    odd = next((one for one in tables.values() if one.header != first.header), None)
    if odd is not None:
        raise DataError(f"{odd.path} has other columns than {first.path}; give that file alone")
    at = _find_column(first, choices.image_key, _PATHS, "--image-key")
    splits_at = first.find(_SPLITS)
    columns = _find_labels(first, choices.label_key, {at, splits_at})
    rows = [
        (f"{one.path}, row {number}", split or _read_split(row, splits_at, one.path), row)
        for split, one in tables.items()
        for number, row in enumerate(one.rows, one.first_row)
    ]
    if not rows:
        raise DataError(f"{first.path} has no rows below its columns; add pictures")
    _refuse_outside({place: row[at] for place, _, row in rows}, first.path.parent)
    root = _find_root(first.path.parent, rows[0][2][at], first.path)
    names = [first.header[column] for column in columns]
    cells = {place: [row[column] for column in columns] for place, _, row in rows}
    classes, labels = _read_labels(cells, names, first.path)
    found = group_rows(
        (
            Row(place, split, str(root / row[at]), label)
            for (place, split, row), label in zip(rows, labels)
        ),
        choices.on_note,
    )
    source = _make_source("a CSV of paths and labels", path, classes, found, choices, crops=True)
    listed = [str(root / row[at]) for _, _, row in rows]
    files = name_some([one.path.name for one in tables.values()])
    note_unlisted(first.path.parent, listed, files, choices.on_note)
    return source


def _make_source(
    kind: str,
    path: Path,
    classes: List[str],
    found: Dict[str, List[Labelled]],
    choices: Choices,
    crops: bool,
) -> Source:
    if "train" not in found:
        raise DataError(f"{path} has no rows of a training split; name it train")
    splits = choose_val(found, path, choices.on_note)
    multi_label = isinstance(splits["train"][0].label, tuple)
    return Source(kind, classes, splits, crops=crops, multi_label=multi_label)


def _find_column(table: Table, given: Optional[str], names: Sequence[str], flag: str) -> int:
    column = table.find((given.strip().lower(),) if given else names)
    if column is None:
        raise DataError(
            f"{table.path} has the columns {name_some(table.header)}, and none is "
            f"{given or 'known by its name'}; give {flag} COLUMN"
        )
    return column


def _find_labels(table: Table, given: Optional[str], taken: Set[Optional[int]]) -> List[int]:
    """The columns of the labels: one of names, or all others if each is of 0 and 1."""
    if given:
        return [_find_column(table, name, (), "--label-key") for name in given.split(",")]
    column = table.find(_LABELS)
    if column is not None:
        return [column]
    others = [number for number in range(len(table.header)) if number not in taken]
    are_bits = all(row[c].strip() in _BITS for row in table.rows for c in others)
    if len(others) == 1 or (others and are_bits):
        return others
    raise DataError(
        f"{table.path} has the columns {name_some(table.header)}, and none is known as the labels; "
        "give --label-key COLUMN, or a column of 0 and 1 for each label"
    )


def _read_split(row: List[str], column: Optional[int], path: Path) -> str:
    if column is None:
        return "train"
    split = _SPLIT_WORDS.get(row[column].strip().lower())
    if split is None:
        raise DataError(f"{path} names a split '{row[column]}'; expected are train, val and test")
    return split


def _count_csvs(path: Path) -> str:
    names = list_csv_names(path)
    if not names:
        return "is no CSV and holds none"
    return f"holds {len(names)} CSV files, {name_some(names)}"


def _refuse_outside(cells: Mapping[str, str], folder: Path) -> None:
    inside = os.path.abspath(folder).rstrip("/") + "/"
    for place, cell in cells.items():
        if not os.path.normpath(os.path.join(inside, cell)).startswith(inside):
            raise DataError(
                f"{place} names {cell}, which is outside of {folder}; put the CSV into a folder "
                "that holds all pictures"
            )


def _find_root(folder: Path, first: str, path: Path) -> Path:
    """The folder that paths begin in: that of the CSV, or one of its folders."""
    for root in (folder, *(folder / name for name in list_names(folder))):
        if (root / first).is_file():
            return root
    raise DataError(
        f"{path} names the picture {first}, which is neither beside it nor in a folder there; put "
        "the CSV where its paths begin"
    )


def _read_labels(
    cells: Mapping[str, Sequence[str]], names: Sequence[str], path: Path
) -> Tuple[List[str], List[Label]]:
    if len(names) > 1:
        for where, row in cells.items():
            wrong = next((cell for cell in row if cell.strip() not in _BITS), None)
            if wrong is not None:
                raise DataError(f"{where} has a label '{wrong}' where 0 or 1 is expected; mend it")
        return list(names), [tuple(_BITS[cell.strip()] for cell in row) for row in cells.values()]
    values = [row[0].strip() for row in cells.values()]
    between = _LISTS.get(names[0].strip().lower(), "|")  # a name may have a comma
    separator = next((one for one in between if any(one in value for value in values)), None)
    if separator is None:
        empty = next((place for place, value in zip(cells, values) if not value), None)
        if empty is not None:
            raise DataError(f"{empty} has no label; remove the row or add one")
        classes = list_classes(values, path)
        place = {name: number for number, name in enumerate(classes)}
        return classes, [place[value] for value in values]
    lists = [{name.strip() for name in value.split(separator)} - {""} for value in values]
    classes = list_classes((name for one in lists for name in one), path)
    return classes, [tuple(int(name in one) for name in classes) for one in lists]


def read_faces(path: Path, choices: Choices) -> Source:
    """The set of seven expressions: PublicTest is the validation split, PrivateTest the test's.

    Raises DataError for a row whose expression or pixels are none.
    """
    file = find_tables(path).get("")
    if file is None:
        raise DataError(f"{path} {_count_csvs(path)}; give the CSV file of faces itself")
    table = read_table_file(file)
    columns = [_find_column(table, name, (), "a CSV with it as the") for name in _FACE_COLUMNS]
    found: Dict[str, List[Labelled]] = {}
    for number, row in enumerate(table.rows, start=2):
        emotion, pixels, _ = (row[column] for column in columns)
        place = f"{table.path}, row {number}"
        if emotion.strip() not in map(str, range(len(_EXPRESSIONS))):
            raise DataError(f"{place} has the expression '{emotion}'; expected is 0 to 6")
        split = _read_split(row, columns[2], table.path)
        face = Labelled(_read_face(pixels, place), int(emotion))
        found.setdefault(split, []).append(face)
    kind = "faces of seven expressions"
    return _make_source(kind, path, list(_EXPRESSIONS), found, choices, crops=False)


def _read_face(text: str, place: str) -> np.ndarray:
    words = text.split()
    side = math.isqrt(len(words))
    try:
        values = np.array(words, dtype=np.int64)
    except (ValueError, OverflowError):
        values = np.array([-1])
    if side**2 != len(words) or not words or values.min() < 0 or values.max() > 255:
        raise DataError(
            f"{place} has {len(words)} pixels; expected are 48 x 48 grey values from 0 to 255"
        )
    return values.astype(np.uint8).reshape(side, side)
