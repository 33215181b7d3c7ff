"""Datasets in the layouts in which others publish them, read as labelled pictures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import (
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

import numpy as np

from ..errors import DataError
from ..ofrecord_file import Label

Note = Callable[[str], None]
MOST_NAMED = 10
# how common libraries and collections call the splits
SPLIT_WORDS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}
T = TypeVar("T")


class StoredPicture(NamedTuple):
    """A picture within a part file: the place of its record, and the keys of image and label."""

    path: str
    offset: int  # in bytes
    keys: Tuple[str, str]


# a file, a record of a part file, or pixels uint8 (H, W) or (H, W, C)
Picture = Union[str, StoredPicture, np.ndarray]


class Labelled(NamedTuple):
    """A picture and its class, or 0 or 1 for each label."""

    picture: Picture
    label: Label


@dataclass(frozen=True)
class Choices:
    """The user's words about a source. None leaves a choice to its reader."""

    image_key: Optional[str] = None
    label_key: Optional[str] = None
    label_base: Optional[int] = None
    on_note: Note = lambda sentence: None


@dataclass
class Source:
    """Labelled pictures: `splits` has `train`, and `val` unless the import is to make it.

    `names` are readable ones of the classes, where the source has them. `crops` says whether random
    crops suit the pictures; they do not suit those of a few pixels.
    """

    kind: str
    classes: List[str]
    splits: Dict[str, List[Labelled]]
    names: Optional[List[str]] = None
    crops: bool = False
    multi_label: bool = False


def name_some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def as_text(value: object) -> str:
    """A text that was stored as bytes or as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def list_names(folder: Path) -> List[str]:
    """Names in a folder, sorted, without hidden ones; none if it is no folder or unreadable."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return []


def choose_val(found: Mapping[str, T], where: object, on_note: Note) -> Dict[str, T]:
    """The splits train and val of those that were found; without a val the test split is it."""
    splits = {"train": found["train"]}
    val = next((name for name in ("val", "test") if name in found), None)
    if val is not None:
        splits["val"] = found[val]
    if val == "test":
        on_note(f"the test split of {where} serves as the validation split")
    if val == "val" and "test" in found:
        on_note(f"the test split of {where} is left out, since there is a validation split")
    return splits


def count_of(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun, such as `1 class` and `2 classes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


class Row(NamedTuple):
    """A picture's file and its label, as a line of a text file gives them."""

    place: str  # such as "labels.csv, row 3", for errors
    split: str
    path: str
    label: Label


def group_rows(rows: Iterable[Row], on_note: Note) -> Dict[str, List[Labelled]]:
    """The pictures of each split; a row that a split has twice is kept once.

    Raises DataError where two rows give one picture different labels.
    """
    found: Dict[str, List[Labelled]] = {}
    first: Dict[str, Row] = {}
    seen: Dict[Tuple[str, str], Row] = {}
    twice: List[str] = []
    for row in rows:
        path = os.path.normpath(row.path)
        known = first.setdefault(path, row)
        if known.label != row.label:
            raise DataError(
                f"{known.place} and {row.place} give {path} different labels; keep one of the rows"
            )
        if seen.setdefault((row.split, path), row) is not row:
            twice.append(row.place)
            continue
        found.setdefault(row.split, []).append(Labelled(path, row.label))
    if twice:
        on_note(f"left out {count_of(len(twice), 'row')} given before, first {twice[0]}")
    return found
