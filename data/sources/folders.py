"""Folders of pictures: ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg, and Tiny ImageNet.

`validation/`, `valid/` and `test/` serve as `val/`, in any case of their letters. Without `train/`
the folders of ROOT are the classes. Hidden folders and files are left out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Iterable, List, Optional

from ..errors import DataError
from ..files import read_text
from ..pictures import PICTURE_SUFFIXES, is_picture_name
from . import (
    SPLIT_WORDS,
    Choices,
    Labelled,
    Note,
    Row,
    Source,
    choose_val,
    count_of,
    group_rows,
    list_names,
    name_some,
)
from .labels import list_classes

_ANNOTATIONS = "val_annotations.txt"
_MAX_TEXT_BYTES = 1 << 28


def find_splits(root: Path) -> Dict[str, Path]:
    """The folders of the splits that are there, by `train`, `val` and `test`.

    Raises DataError for two folders of one split.
    """
    found: Dict[str, Path] = {}
    for split, names in SPLIT_WORDS.items():
        there = [one for one in _paths(root) if one.name.lower() in names and one.is_dir()]
        if len(there) > 1:
            raise DataError(
                f"{root} has the folders {name_some([one.name for one in there])} for one split; "
                "keep one of them"
            )
        if there:
            found[split] = there[0]
    return found


def has_class_folders(path: Path) -> bool:
    """Whether a folder has `train/` with folders, beside which other files say nothing."""
    train = find_splits(path).get("train")
    return train is not None and any((train / name).is_dir() for name in list_names(train))


def is_imagefolder(path: Path) -> bool:
    """Whether a folder has folders of classes, or `train/` with such."""
    return has_class_folders(path) or any((path / name).is_dir() for name in list_names(path))


def read_imagefolder(root: Path, choices: Choices) -> Source:
    """The pictures of a folder; the classes are the folders of train/ in sorted order.

    Raises DataError for a folder without classes, a class without training pictures or with
    validation ones alone, and a dangling link in a class's place.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give one with train/CLASS/ and val/CLASS/ pictures")
    folders = find_splits(root)
    if "train" not in folders and not any(map(_has_pictures, _paths(root))):
        raise DataError(
            f"folder {root} has no train/; it needs train/CLASS/ and val/CLASS/ pictures"
        )
    kind = "folders of pictures, a class a folder"
    if "train" not in folders:
        folders = {"train": root}
    elif "test" in folders and not _subfolders(folders["test"]):
        del folders["test"]  # as of ImageNet, without labels; its pictures are loose
    chosen = choose_val(folders, root, choices.on_note)
    classes = list_classes(_subfolders(chosen["train"]), chosen["train"])
    for folder in dict.fromkeys((root, *find_splits(root).values())):
        _note_loose(folder, choices.on_note)
    for folder in chosen.values():
        _refuse_unknown(folder, classes, chosen["train"])
    splits = {name: _list_pictures(path, classes, choices.on_note) for name, path in chosen.items()}
    filled = {label for _, label in splits["train"]}
    empty = [name for label, name in enumerate(classes) if label not in filled]
    if empty:
        raise DataError(
            f"{chosen['train']} holds no pictures of {count_of(len(empty), 'class', 'classes')}: "
            f"{name_some(empty)}; "
            "add some or remove their folders"
        )
    return Source(kind, classes, splits, crops=True)


def _paths(folder: Path) -> List[Path]:
    return [folder / name for name in list_names(folder)]


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(map(is_picture_name, list_names(folder)))


def _refuse_unknown(folder: Path, classes: List[str], train: Path) -> None:
    unknown = sorted(set(_subfolders(folder)) - set(classes))
    if unknown == ["images"]:
        raise DataError(
            f"{folder / 'images'} has pictures without classes; Tiny ImageNet has the classes in "
            f"{folder / _ANNOTATIONS}, which is missing; add it"
        )
    if unknown:
        alike = [name for name in classes if name.lower() == unknown[0].lower()]
        remedy = f"rename it {alike[0]}" if alike else "add training pictures of it or move it away"
        raise DataError(f"{folder / unknown[0]} is a class that {train} does not have; {remedy}")


def _note_loose(folder: Path, on_note: Note) -> None:
    loose = [one for one in _paths(folder) if is_picture_name(one.name) and not one.is_dir()]
    if loose:
        on_note(
            f"left out {count_of(len(loose), 'picture')} of {folder} outside of its class folders, "
            f"first {loose[0].name}"
        )


def _subfolders(folder: Path) -> List[str]:
    entries = _paths(folder)
    dangling = [entry for entry in entries if entry.is_symlink() and not entry.exists()]
    if dangling:
        raise DataError(
            f"{dangling[0]} is a link to {os.readlink(dangling[0])}, which does not exist; mend it "
            "or remove it"
        )
    return [entry.name for entry in entries if entry.is_dir()]


def _list_pictures(folder: Path, classes: List[str], on_note: Note) -> List[Labelled]:
    """The labelled pictures of a split, class by class."""
    files = [(path, label) for label, c in enumerate(classes) for path in list_files(folder / c)]
    pictures = [Labelled(path, label) for path, label in files if is_picture_name(path)]
    kinds = ", ".join(PICTURE_SUFFIXES)
    if not pictures:
        raise DataError(
            f"{folder} holds no pictures; expected {folder.name}/CLASS/ folders with files of type "
            f"{kinds}"
        )
    others = [path for path, _ in files if not is_picture_name(path)]
    if others:
        on_note(
            f"left out {count_of(len(others), 'file')}, first {others[0]}: the type is none of "
            f"{kinds}"
        )
    return pictures


def list_files(folder: Path) -> List[str]:
    """All files below a folder in the order of their paths; nothing that is hidden."""
    found: List[str] = []
    for inside, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(inside, name) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: path.split(os.sep))


def is_tiny_imagenet(path: Path) -> bool:
    return (path / "val" / _ANNOTATIONS).is_file() and (path / "train").is_dir()


def read_tiny_imagenet(root: Path, choices: Choices) -> Source:
    """Tiny ImageNet: train/SYNSET/images/, and val/images/ with the labels in one text file.

    Raises DataError for missing folders, and for lines of the text that name no file and class or
    contradict each other.
    """
    found = _subfolders(root / "train") if (root / "train").is_dir() else []
    classes = list_classes(found, root / "train")
    place = {name: label for label, name in enumerate(classes)}
    annotations = root / "val" / _ANNOTATIONS
    val: List[Row] = []
    for number, line in enumerate(_read_lines(annotations), start=1):
        file, *rest = line.split("\t")
        if not rest or rest[0] not in place or "/" in file:
            raise DataError(
                f"{annotations}, line {number}: expected a file and one of the {len(classes)} "
                "classes of train/, with tabs between; download Tiny ImageNet again"
            )
        path = str(root / "val" / "images" / file)
        val.append(Row(f"{annotations}, line {number}", "val", path, place[rest[0]]))
    if not val:
        raise DataError(f"{annotations} has no lines; download Tiny ImageNet again")
    images = root / "val" / "images"
    note_unlisted(images, [row.path for row in val], _ANNOTATIONS, choices.on_note)
    train = _list_pictures(root / "train", classes, _ignore_note)  # which is of the boxes' files
    splits = {"train": train, **group_rows(val, choices.on_note)}
    return Source("Tiny ImageNet", classes, splits, _read_words(root / "words.txt", classes))


def note_unlisted(folder: Path, listed: Iterable[str], lists: str, on_note: Note) -> None:
    """Say how many pictures below a folder are not among those `listed` in the file `lists`."""
    known = {os.path.normpath(one) for one in listed}
    pictures = filter(is_picture_name, list_files(folder))
    left = [one for one in pictures if os.path.normpath(one) not in known]
    if left:
        first = os.path.relpath(left[0], folder)
        on_note(
            f"left out {count_of(len(left), 'picture')} of {folder}, first {first}: not named in "
            f"{lists}"
        )


def _ignore_note(sentence: str) -> None:
    pass


def _read_words(path: Path, classes: List[str]) -> Optional[List[str]]:
    """The first word of each class, where the file has all."""
    if not path.is_file():
        return None
    pairs = (line.partition("\t") for line in _read_lines(path))
    words = {synset: text.split(",")[0].strip() for synset, _, text in pairs}
    names = [words.get(name, "") for name in classes]
    return names if all(names) and len(set(names)) == len(names) else None


def _read_lines(path: Path) -> List[str]:
    try:
        text = read_text(path, _MAX_TEXT_BYTES)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); download the dataset again"
        ) from None
    return [line for line in text.splitlines() if line.strip()]
