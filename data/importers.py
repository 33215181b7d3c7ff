"""Imports folders of pictures: ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg."""

from __future__ import annotations

import multiprocessing
import os
import random
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Callable, Iterable, Iterator, List, Optional, Sequence, Tuple

from .errors import DataError
from .index import SPLIT_FOLDERS, DatasetInfo
from .pictures import DEFAULT_QUALITY, PICTURE_SUFFIXES, convert_file, measure_jpeg
from .writer import Description, Progress, Sample, check_target, write_dataset

_SHUFFLE_SEED = 0
_WINDOW_PER_WORKER = 64  # pictures under way; bounds memory
_CHUNK = 8

Labelled = Tuple[Path, int]


def import_imagefolder(
    folder: Path,
    out_dir: Path,
    parts: int = 4,
    workers: Optional[int] = None,
    quality: int = DEFAULT_QUALITY,
    max_side: Optional[int] = None,
    on_progress: Optional[Progress] = None,
) -> DatasetInfo:
    """Convert a folder in ImageNet's layout (`validation/` serves for `val/`) into OFRecord.

    Classes are the folders of train/ in sorted order. RGB JPEGs are stored as they are; any
    other picture, and one above `max_side` pixels, is converted and encoded at `quality`. Pictures
    are shuffled once with a fixed seed; the result does not depend on `workers` (processes;
    default: one a core). Raises DataError for a missing split, no pictures, a validation class that
    training lacks, an unreadable picture, a target that is not empty.
    """
    root, target = Path(folder), Path(out_dir)
    check_target(target)
    classes, train, val = _list_pictures(root)
    convert = partial(_convert_one, quality=quality, max_side=max_side)
    total = len(train) + len(val)
    done = 0

    def counted(samples: Iterable[Sample]) -> Iterator[Sample]:
        nonlocal done
        for sample in samples:
            yield sample
            done += 1
            if on_progress:
                on_progress(done, total)

    description = Description(root.resolve().name, classes, quality, source="imagefolder")
    processes = workers or os.cpu_count() or 1
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with OneFlow loaded hangs
    with ProcessPoolExecutor(processes, spawn) if processes > 1 else nullcontext() as pool:
        splits = {
            "train": counted(_convert_all(convert, train, pool, processes)),
            "val": counted(_convert_all(convert, val, pool, processes)),
        }
        return write_dataset(target, description, splits, parts)


def _convert_all(
    convert: Callable[[Labelled], Sample],
    pictures: Sequence[Labelled],
    pool: Optional[ProcessPoolExecutor],
    processes: int,
) -> Iterator[Sample]:
    """The samples of the pictures in order, made in this process or in those of a pool."""
    if pool is None:
        yield from map(convert, pictures)
        return
    window = processes * _WINDOW_PER_WORKER
    for start in range(0, len(pictures), window):
        chosen = pictures[start : start + window]
        try:
            yield from pool.map(convert, chosen, chunksize=_CHUNK)
        except BrokenProcessPool:
            raise DataError(
                f"a process converting {chosen[0][0].parent.parent} died, as happens when "
                f"memory runs out; give less than --workers {processes}"
            ) from None


def _convert_one(picture: Labelled, quality: int, max_side: Optional[int]) -> Sample:
    path, label = picture
    encoded = convert_file(path, quality, max_side)
    return Sample(encoded, label, measure_jpeg(encoded, str(path)))


def _list_pictures(root: Path) -> Tuple[List[str], List[Labelled], List[Labelled]]:
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give one with train/CLASS/ and val/CLASS/ pictures")
    train_folder, val_folder = _split_folder(root, "train"), _split_folder(root, "val")
    classes = _subfolders(train_folder)
    unknown = [name for name in _subfolders(val_folder) if name not in set(classes)]
    if unknown:
        raise DataError(
            f"{val_folder / unknown[0]} is a class that {train_folder} does not have; "
            "add training pictures of it or remove it"
        )
    return classes, _shuffled(train_folder, classes), _shuffled(val_folder, classes)


def _split_folder(root: Path, split: str) -> Path:
    for name in SPLIT_FOLDERS[split]:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"{root} has no {split}/; expected {split}/CLASS/ folders with pictures")


def _subfolders(folder: Path) -> List[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())


def _shuffled(folder: Path, classes: Sequence[str]) -> List[Labelled]:
    pictures = [
        (path, label)
        for label, name in enumerate(classes)
        if (folder / name).is_dir()
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    ]
    if not pictures:
        raise DataError(
            f"{folder} holds no pictures; expected {folder.name}/CLASS/ folders with files of type "
            + ", ".join(PICTURE_SUFFIXES)
        )
    random.Random(_SHUFFLE_SEED).shuffle(pictures)
    return pictures
