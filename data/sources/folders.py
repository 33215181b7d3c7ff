"""Folders of pictures: ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg, and Tiny ImageNet.

`validation/`, `valid/` and `test/` serve as `val/`. Without `train/` the folders of ROOT are the
classes. Hidden folders and files are left out.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Optional

from ..errors import DataError
from ..files import read_regular
from ..pictures import PICTURE_SUFFIXES, is_picture_name
from . import Choices, Labelled, Note, Source, choose_val, list_names, name_some

_SPLIT_FOLDERS = {
    "train": ("train",),
    "val": ("val", "validation", "valid"),
    "test": ("test",),
}
_ANNOTATIONS = "val_annotations.txt"
_MAX_TEXT_BYTES = 1 << 28


def find_splits(root: Path) -> Dict[str, Path]:
    """The folders of the splits that are there, by `train`, `val` and `test`."""
    return {
        split: root / name
        for split, names in _SPLIT_FOLDERS.items()
        for name in reversed(names)
        if (root / name).is_dir()
    }


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
        del folders["test"]  # as of ImageNet, without labels
    chosen = choose_val(folders, root, choices.on_note)
    classes = _subfolders(chosen["train"])
    for folder in chosen.values():
        _refuse_unknown(folder, classes, chosen["train"])
    splits = {name: _list_pictures(path, classes, choices.on_note) for name, path in chosen.items()}
    filled = {label for _, label in splits["train"]}
    empty = [name for label, name in enumerate(classes) if label not in filled]
    if empty:
        raise DataError(
            f"{chosen['train']} holds no pictures of {len(empty)} classes: {name_some(empty)}; "
            "add some or remove their folders"
        )
    return Source(kind, classes, splits, crops=True)


def _paths(folder: Path) -> List[Path]:
    return [folder / name for name in list_names(folder)]


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(map(is_picture_name, list_names(folder)))


def _refuse_unknown(folder: Path, classes: List[str], train: Path) -> None:
    unknown = sorted(set(_subfolders(folder)) - set(classes))
    if unknown:
        raise DataError(
            f"{folder / unknown[0]} is a class that {train} does not have; "
            "add training pictures of it or remove it"
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
    files = [(path, label) for label, c in enumerate(classes) for path in _list_files(folder / c)]
    pictures = [Labelled(path, label) for path, label in files if is_picture_name(path)]
    kinds = ", ".join(PICTURE_SUFFIXES)
    if not pictures:
        raise DataError(
            f"{folder} holds no pictures; expected {folder.name}/CLASS/ folders with files of type "
            f"{kinds}"
        )
    others = [path for path, _ in files if not is_picture_name(path)]
    if others:
        on_note(f"left out {len(others)} files, first {others[0]}: their type is none of {kinds}")
    return pictures


def _list_files(folder: Path) -> List[str]:
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

    Raises DataError for missing folders, and for lines of the text that name no file and class.
    """
    classes = _subfolders(root / "train") if (root / "train").is_dir() else []
    place = {name: label for label, name in enumerate(classes)}
    annotations = root / "val" / _ANNOTATIONS
    val: List[Labelled] = []
    for number, line in enumerate(_read_lines(annotations), start=1):
        file, *rest = line.split("\t")
        if not rest or rest[0] not in place:
            raise DataError(
                f"{annotations}, line {number}: expected a file and one of the {len(classes)} "
                "classes of train/, with tabs between; download Tiny ImageNet again"
            )
        val.append(Labelled(str(root / "val" / "images" / file), place[rest[0]]))
    train = _list_pictures(root / "train", classes, _ignore_note)  # which is of the boxes' files
    splits = {"train": train, "val": val}
    return Source("Tiny ImageNet", classes, splits, _read_words(root / "words.txt", classes))


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
        text = read_regular(path, _MAX_TEXT_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} cannot be read ({reason}); download the dataset again") from None
    return [line for line in text.splitlines() if line.strip()]
