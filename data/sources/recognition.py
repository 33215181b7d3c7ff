"""The formats that an import reads, and which of them a path is."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Dict, FrozenSet, NamedTuple

from ..errors import DataError
from ..ofrecord_file import Label
from . import Choices, Labelled, Note, Source, count_of, name_some
from .arrays import is_arrays, is_idx, read_arrays, read_idx_folder
from .cells import list_csv_names
from .cifar import is_cifar, read_cifar
from .folders import (
    has_class_folders,
    is_imagefolder,
    is_tiny_imagenet,
    read_imagefolder,
    read_tiny_imagenet,
)
from .records import is_ofrecord, read_ofrecord
from .tables import is_faces, is_table, read_faces, read_table


class Format(NamedTuple):
    """How a format is told by its files, read, and the `Choices` it takes."""

    is_it: Callable[[Path], bool]
    read: Callable[[Path, Choices], Source]
    takes: FrozenSet[str] = frozenset()


_KEYS, _BASE = frozenset(["image_key", "label_key"]), frozenset(["label_base"])
# in the order in which they are tried: the last ones are the least particular
FORMATS: Dict[str, Format] = {
    "cifar": Format(is_cifar, read_cifar),
    "idx": Format(is_idx, read_idx_folder, _BASE),
    "tiny-imagenet": Format(is_tiny_imagenet, read_tiny_imagenet),
    "faces": Format(is_faces, read_faces),
    "arrays": Format(is_arrays, read_arrays, _KEYS | _BASE),
    "csv": Format(is_table, read_table, _KEYS),
    "ofrecord": Format(is_ofrecord, read_ofrecord, _KEYS | _BASE),
    "imagefolder": Format(is_imagefolder, read_imagefolder),
}


def read_source(path: Path, name: str, choices: Choices) -> Source:
    """Read a path as the format of that name.

    Raises DataError for choices it does not take, and for all that `check_source` refuses.
    """
    wanted = FORMATS[name]
    for field in ("image_key", "label_key", "label_base"):
        if getattr(choices, field) is not None and field not in wanted.takes:
            raise DataError(
                f"--{field.replace('_', '-')} has no meaning for {path}, which is read as {name}; "
                "leave it out"
            )
    try:
        source = wanted.read(path, choices)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read as {name} ({error.strerror}: {error.filename}); "
            f"{_advise(error)}"
        ) from None
    except MemoryError:
        raise DataError(
            f"{path} does not fit into memory; import it as a CSV of paths, or in parts"
        ) from None
    return check_source(source, path, choices.on_note)


def _advise(error: OSError) -> str:
    if isinstance(error, NotADirectoryError):
        return "give the folder instead of a file in it"
    if isinstance(error, PermissionError):
        return "give yourself the right to read it"
    return "mend that file, or leave it out"


def recognise(path: Path) -> str:
    """The name of the format of a path. Raises DataError if it is none."""
    if not path.exists():
        raise DataError(f"{path} does not exist; give a folder or file of pictures")
    if has_class_folders(path):
        return "tiny-imagenet" if is_tiny_imagenet(path) else "imagefolder"
    name = next((name for name, one in FORMATS.items() if one.is_it(path)), None)
    if name is None:
        tables = list_csv_names(path)
        hint = f"known are {', '.join(FORMATS)}"
        if path.suffix in (".gz", ".tgz", ".tar", ".zip"):
            hint = "unpack it and give its folder"
        elif tables:
            hint = f"give one of its CSV files, {name_some(tables)}"
        raise DataError(f"{path} is no dataset that is recognised by its files; {hint}")
    return name


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
