"""The cells of CSV files, and which files of a folder they are."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence

from ..errors import DataError
from ..files import read_text
from ..pictures import is_picture_name
from . import SPLIT_WORDS, list_names

_MAX_BYTES = 1 << 31
_MAX_CELL = 1 << 24
_SUFFIXES = (".csv", ".tsv")
_DELIMITERS = (",", "\t", ";")
_SPLIT_FILES = {f"{word}.csv": split for split, words in SPLIT_WORDS.items() for word in words}


class Table(NamedTuple):
    """A CSV: names of the columns, and rows of as many cells below `first_row`."""

    path: Path
    header: List[str]
    rows: List[List[str]]
    first_row: int  # its number in the file, without empty lines

    def find(self, names: Sequence[str]) -> Optional[int]:
        """The place of the first of these columns that is there."""
        lower = [name.strip().lower() for name in self.header]
        return next((lower.index(name) for name in names if name in lower), None)


def find_tables(path: Path) -> Dict[str, Path]:
    """The files of a source by split; one file for all has the name ``.

    A folder is one of tables with one CSV file, or with train.csv. Raises DataError for two files
    of one split.
    """
    if path.is_file():
        return {"": path} if path.suffix.lower() in _SUFFIXES else {}
    names = list_csv_names(path)
    by_split: Dict[str, Path] = {}
    for name in sorted(names, key=lambda name: name.lower() != "train.csv"):
        split = _SPLIT_FILES.get(name.lower())
        if split in by_split:
            raise DataError(f"{by_split[split]} and {path / name} are one split; keep one of them")
        if split is not None:
            by_split[split] = path / name
    if "train" in by_split:
        return by_split
    return {"": path / names[0]} if len(names) == 1 else {}


def list_csv_names(folder: Path) -> List[str]:
    return [name for name in list_names(folder) if name.lower().endswith(_SUFFIXES)]


def read_table_file(path: Path) -> Table:
    """The cells of a CSV, with commas, semicolons or tabs.

    Raises DataError for a file that cannot be read, and for rows of another length than the first.
    """
    try:
        text = read_text(path, _MAX_BYTES)
        if "\0" in text:
            raise csv.Error("it holds NUL bytes, as text in UTF-16 and binary files do")
        if "\n" not in text:
            text = text.replace("\r", "\n")  # line ends of old systems
        head = text.partition("\n")[0]
        delimiter = max(_DELIMITERS, key=head.count)
        csv.field_size_limit(_MAX_CELL)
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except (OSError, csv.Error) as error:
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
        return Table(path, ["path", "label"] if width == 2 else [""] * width, rows, 1)
    names = [name.strip().lower() for name in rows[0] if name.strip()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} has two columns called {twice}; rename or remove one of them")
    return Table(path, rows[0], rows[1:], 2)
