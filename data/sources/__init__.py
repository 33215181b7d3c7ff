"""Datasets in the layouts in which others publish them, read as labelled pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import (
    Callable,
    Dict,
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

from ..ofrecord_file import Label

Note = Callable[[str], None]
MOST_NAMED = 10
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
