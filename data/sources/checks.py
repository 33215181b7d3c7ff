"""Faults of a source that a training would not show: no labels, one class, pictures given twice."""

from __future__ import annotations

import os
from typing import Dict, Iterable, List, NamedTuple, Tuple

from ..errors import DataError
from ..ofrecord_file import Label
from . import Labelled, Note, Source, name_some


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


def check_source(source: Source, where: object, on_note: Note) -> Source:
    """The source, with classes instead of labels where each picture has exactly one of them.

    Says how many pictures two splits share. Raises DataError for training pictures of one
    class, and for a source with several labels a picture of which no picture has any.
    """
    labels = [one.label for pictures in source.splits.values() for one in pictures]
    if source.multi_label and len(source.classes) > 1:
        sums = {sum(label) for label in labels if isinstance(label, tuple)}
        if sums <= {0}:
            raise DataError(
                f"{where} has {len(source.classes)} labels, and all of them are 0 for every "
                "picture; give labels with a 1 where they hold"
            )
        if sums == {1}:
            on_note(
                f"every picture of {where} has exactly one label, so the labels are classes "
                "(one-hot)"
            )
            source.splits = {
                split: [Labelled(picture, _find_class(label)) for picture, label in pictures]
                for split, pictures in source.splits.items()
            }
            source.multi_label = False
    if source.multi_label:
        source.kind += f", with several labels a picture: {name_some(source.classes)}"
    held = {one.label for one in source.splits["train"]}
    if not source.multi_label and len(held) == 1:
        (label,) = held
        name = source.classes[label] if isinstance(label, int) else label
        raise DataError(
            f"{where} has training pictures of one class, {name}, and a model tells two or more "
            "apart; add pictures of another class"
        )
    _note_shared(source, on_note)
    return source


def _find_class(label: Label) -> Label:
    return label.index(1) if isinstance(label, tuple) else label


def _note_shared(source: Source, on_note: Note) -> None:
    paths = [
        {one.picture for one in pictures if isinstance(one.picture, str)}
        for pictures in source.splits.values()
    ]
    shared = sorted(set.intersection(*paths)) if len(paths) > 1 else []
    if shared:
        on_note(
            f"both splits have {count_of(len(shared), 'picture')}, first {shared[0]}; the accuracy "
            "on those is that of training"
        )


def count_of(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun, such as `1 class` and `2 classes`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
