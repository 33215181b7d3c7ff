"""CSV files: of paths and labels, and of the pixels of faces with their expression.

Labels are a column of names, a column of lists of names (`cat|dog`), or a column of 0 and 1 for
each label. The face set has `emotion`, `pixels` (48 x 48 grey values) and `Usage`.
"""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from ..errors import DataError
from ..files import read_regular
from ..ofrecord_file import Label
from ..pictures import is_picture_name
from . import Choices, Labelled, Source, choose_val, list_names, name_some
from .labels import list_classes

_MAX_BYTES = 1 << 31
_MAX_CELL = 1 << 24
_PATHS = ("path", "filepath", "file", "filename", "file_name", "image", "image_path", "image_name",
          "img", "image_id", "id")  # fmt: skip
_LABELS = ("label", "labels", "class", "class_name", "target", "category", "tags")
_SPLITS = ("split", "usage", "set", "subset")
_SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "publictest": "val",
    "test": "test", "testing": "test", "privatetest": "test",
}  # fmt: skip
_SPLIT_FILES = {"train.csv": "train", "val.csv": "val", "valid.csv": "val",
                "validation.csv": "val", "test.csv": "test"}  # fmt: skip
_DELIMITERS = (",", "\t", ";")
_LISTS = {"labels": "|;,", "tags": "|;, "}  # what may stand between the labels of a cell
_BITS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "-1": 0}
_EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
_FACE_COLUMNS = ("emotion", "pixels", "usage")


class Table(NamedTuple):
    """A CSV: names of the columns, and rows of as many cells."""

    path: Path
    header: List[str]
    rows: List[List[str]]

    def find(self, names: Sequence[str]) -> Optional[int]:
        """The place of the first of these columns that is there."""
        lower = [name.strip().lower() for name in self.header]
        return next((lower.index(name) for name in names if name in lower), None)


def find_tables(path: Path) -> Dict[str, Path]:
    """The files of a source by split; one file for all has the name ``.

    A folder is one of tables with one CSV file, or with train.csv.
    """
    if path.is_file():
        return {"": path} if path.suffix.lower() in (".csv", ".tsv") else {}
    names = [name for name in list_names(path) if name.lower().endswith((".csv", ".tsv"))]
    by_split = {split: path / name for name, split in _SPLIT_FILES.items() if name in names}
    if "train" in by_split:
        return by_split
    return {"": path / names[0]} if len(names) == 1 else {}


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


def read_table_file(path: Path) -> Table:
    """The cells of a CSV, with commas, semicolons or tabs.

    Raises DataError for a file that cannot be read, and for rows of another length than the first.
    """
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8-sig")
        head = text.partition("\n")[0]
        delimiter = max(_DELIMITERS, key=head.count)
        csv.field_size_limit(_MAX_CELL)
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read as CSV ({reason}); give one in UTF-8") from None
    if not rows:
        raise DataError(f"{path} is empty; give a CSV with a column of paths and one of labels")
    width = len(rows[0])
    odd = next((number for number, row in enumerate(rows, 1) if len(row) != width), None)
    if odd is not None:
        raise DataError(
            f"{path}, row {odd} has {len(rows[odd - 1])} cells and the first has {width}; "
            "mend that row"
        )
    if is_picture_name(rows[0][0]):  # no names of columns
        return Table(path, ["path", "label"] if width == 2 else [""] * width, rows)
    return Table(path, rows[0], rows[1:])


def read_table(path: Path, choices: Choices) -> Source:
    """Pictures and labels of the columns that are known by name, or that `choices` names.

    Paths are relative to the CSV's folder. A column of splits, or a file for each, gives the
    splits. Raises DataError for columns that are not found, cells that are no labels, and a folder
    without the first picture.
    """
    tables = {split: read_table_file(file) for split, file in find_tables(path).items()}
    if not tables:
        raise DataError(f"{path} holds no CSV, or more than one; give the CSV file itself")
    first = next(iter(tables.values()))
    odd = next((one for one in tables.values() if one.header != first.header), None)
    if odd is not None:
        raise DataError(f"{odd.path} has other columns than {first.path}; give that file alone")
    at = _find_column(first, choices.image_key, _PATHS, "--image-key")
    splits_at = first.find(_SPLITS)
    columns = _find_labels(first, choices.label_key, {at, splits_at})
    rows = [
        (split or _read_split(row, splits_at, one.path), row)
        for split, one in tables.items()
        for row in one.rows
    ]
    if not rows:
        raise DataError(f"{first.path} has no rows below its columns; add pictures")
    root = _find_root(first.path.parent, rows[0][1][at], first.path)
    names = [first.header[column] for column in columns]
    classes, labels = _read_labels(
        [[row[c] for c in columns] for _, row in rows], names, first.path
    )
    found: Dict[str, List[Labelled]] = {}
    for (split, row), label in zip(rows, labels):
        found.setdefault(split, []).append(Labelled(str(root / row[at]), label))
    return _make_source("a CSV of paths and labels", path, classes, found, choices, crops=True)


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
    if multi_label:
        kind += f", with several labels a picture: {name_some(classes)}"
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
    if len(others) > 1 and all(row[c].strip() in _BITS for row in table.rows for c in others):
        return others
    if len(others) == 1:
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
    cells: Sequence[Sequence[str]], names: Sequence[str], path: Path
) -> Tuple[List[str], List[Label]]:
    if len(names) > 1:
        wrong = next((cell for row in cells for cell in row if cell.strip() not in _BITS), None)
        if wrong is not None:
            raise DataError(f"{path} has a label '{wrong}' where 0 or 1 is expected; mend it")
        return list(names), [tuple(_BITS[cell.strip()] for cell in row) for row in cells]
    values = [row[0].strip() for row in cells]
    between = _LISTS.get(names[0].strip().lower(), "|")  # a name may have a comma
    separator = next((one for one in between if any(one in value for value in values)), None)
    if separator is None:
        if not all(values):
            raise DataError(f"{path} has a row without a label; remove it or add one")
        classes = list_classes(values)
        place = {name: number for number, name in enumerate(classes)}
        return classes, [place[value] for value in values]
    lists = [{name.strip() for name in value.split(separator)} - {""} for value in values]
    classes = list_classes(name for one in lists for name in one)
    return classes, [tuple(int(name in one) for name in classes) for one in lists]


def read_faces(path: Path, choices: Choices) -> Source:
    """The set of seven expressions: PublicTest is the validation split, PrivateTest the test's.

    Raises DataError for a row whose expression or pixels are none.
    """
    file = find_tables(path).get("")
    if file is None:
        raise DataError(f"{path} holds no CSV of faces, or more than one; give the CSV file itself")
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
