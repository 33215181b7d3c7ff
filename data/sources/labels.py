"""Labels as numbers from 0, and readable names for them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from ..errors import DataError
from ..inputs import imagenet_names, load_labels
from ..validate import MAX_LABEL
from . import Note

_SYNSET = re.compile(r"n\d{8}$")
_NUMBER = re.compile(r"-?\d{1,9}(\.\d{1,9})?$")
_IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


def number_labels(
    rows: Sequence[Sequence[int]], base: Optional[int], where: str
) -> Tuple[List[str], List[List[int]]]:
    """Names of the classes, and each split's labels from 0; `base` is the least label given.

    A class is named by its label as it was given. Raises DataError for labels below `base`, for a
    `base` that no label has, and without one for labels that do not begin at 0.
    """
    low = min((label for row in rows for label in row), default=0)
    high = max((label for row in rows for label in row), default=0)
    if low < 0 or high > MAX_LABEL:
        raise DataError(f"the labels of {where} go from {low} to {high}; give 0 to {MAX_LABEL}")
    if low != (base or 0) and (base is not None or low > 0):
        raise DataError(
            f"the labels of {where} go from {low} to {high}, and the least is taken for "
            f"{base or 0}; give --label-base {low}"
        )
    names = [str(label) for label in range(low, high + 1)]
    return names, [[int(label) - low for label in row] for row in rows]


def list_classes(names: Iterable[str], where: object) -> List[str]:
    """The different names in order; numbers in that of their values.

    Raises DataError for numbers of which one is below 0.
    """
    found = sorted(set(names))
    if not all(map(_NUMBER.match, found)):
        return found
    found.sort(key=float)
    if found and float(found[0]) < 0:
        raise DataError(
            f"the labels of {where} go from {found[0]} to {found[-1]}; give 0 or more, and leave "
            "pictures without a label out"
        )
    return found


def are_signs(classes: Sequence[str]) -> bool:
    """Whether all names are letters or numbers, as of handwriting: mirrored they are others."""
    return all(re.fullmatch(r"\d+|[^\W_]", name) for name in classes)


def name_classes(classes: Sequence[str], file: Optional[Path], on_note: Note) -> List[str]:
    """Readable names of the classes, in their order.

    They come from `file`: a name for each class, or lines of a class and its name, such as
    `n01440764 tench`. A file with the classes' own names in another order changes nothing. Without
    a file the synsets of Imagenette and of ImageNet's 1,000 classes are named; all others stay.
    Raises DataError for a file that does not fit.
    """
    if file is not None:
        return _make_different(_read_names(list(classes), file, on_note), classes)
    if not all(map(_SYNSET.match, classes)):
        return list(classes)
    names: Sequence[str] = [_IMAGENETTE.get(name, name) for name in classes]
    if len(classes) == len(imagenet_names()):  # their order is that of the synsets
        names = imagenet_names()
    if list(names) != list(classes):
        on_note("classes are named after their synsets; --class-names FILE gives other names")
    return _make_different(names, classes)


def _read_names(classes: List[str], file: Path, on_note: Note) -> Sequence[str]:
    lines = load_labels(file, "the names of the classes")
    pairs = (re.split(r"[\s,:]+", line, maxsplit=1) for line in lines)
    by_class = {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[1]}
    missing = [name for name in classes if name not in by_class]
    if not missing:
        return [by_class[name] for name in classes]
    own = next((n for n, line in enumerate(lines) if line in classes[:n] + classes[n + 1 :]), None)
    if len(lines) == len(classes):
        if own is None:
            return lines
        if set(lines) == set(classes):
            on_note(f"{file} lists the classes in another order, so they keep their own names")
            return classes
        raise DataError(
            f"--class-names {file}, line {own + 1} gives {classes[own]} the name {lines[own]}, "
            f"which is another class; give lines such as '{classes[own]} NAME'"
        )
    raise DataError(
        f"--class-names {file} has {len(lines)} lines and no name of {missing[0]}; give a line for "
        f"each of the {len(classes)} classes in their order, or lines such as '{missing[0]} NAME'"
    )


def _make_different(names: Sequence[str], classes: Sequence[str]) -> List[str]:
    """Put the class behind a name that several classes have, such as ImageNet's two cranes."""
    seen: Dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    return [name if seen[name] == 1 else f"{name} ({one})" for name, one in zip(names, classes)]
