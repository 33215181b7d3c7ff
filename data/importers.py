"""Makes datasets: of folders of pictures (ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg), and of
scikit-learn's handwritten digits: 1,797 real scans, 8 x 8 pixels of 16 levels.

Source of the digits: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI
Machine Learning Repository (CC BY 4.0), the copy that scikit-learn ships.
"""

from __future__ import annotations

import multiprocessing
import os
import random
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from .errors import DataError
from .index import DatasetInfo, Progress, RecordCounter, find_split_folder
from .pictures import (
    DEFAULT_QUALITY,
    PICTURE_SUFFIXES,
    convert_file,
    convert_to_rgb,
    encode_jpeg,
    measure_jpeg,
)
from .writer import Description, Sample, check_target, write_dataset

_SHUFFLE_SEED = 0
_WINDOW_PER_WORKER = 64  # pictures under way; bounds memory
_CHUNK = 8
_DIGIT_SIDE = 32
_DIGIT_PARTS = 2
_LEVELS = 16
_SPLIT_SEED = 1797
_VAL_SHARE = 0.2
_SOURCE = (
    "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning "
    "Repository, CC BY 4.0; as in sklearn.datasets.load_digits, enlarged from 8 x 8"
)

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
    description = Description(root.resolve().name, classes, quality, source="imagefolder")
    processes = workers or os.cpu_count() or 1
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with OneFlow loaded hangs
    with ProcessPoolExecutor(processes, spawn) if processes > 1 else nullcontext() as pool:
        splits = {
            "train": _convert_all(convert, train, pool, processes),
            "val": _convert_all(convert, val, pool, processes),
        }
        counter = RecordCounter(len(train) + len(val), on_progress)
        return write_dataset(target, description, splits, parts, counter)


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
    train_folder, val_folder = find_split_folder(root, "train"), find_split_folder(root, "val")
    classes = _subfolders(train_folder)
    unknown = [name for name in _subfolders(val_folder) if name not in set(classes)]
    if unknown:
        raise DataError(
            f"{val_folder / unknown[0]} is a class that {train_folder} does not have; "
            "add training pictures of it or remove it"
        )
    return classes, _shuffled(train_folder, classes), _shuffled(val_folder, classes)


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


def make_digits(out_dir: Path, on_progress: Optional[Progress] = None) -> DatasetInfo:
    """Write the digits to `out_dir`: 32 x 32 RGB JPEGs, 1,438 to train on and 359 to validate.

    The split is stratified and fixed, and the files are the same bytes each time (with the Pillow
    of the lock file). Raises DataError without scikit-learn or for a target that is not empty.
    """
    check_target(Path(out_dir))
    scans, labels = _load_scans()
    train, val = split_stratified(labels, _VAL_SHARE, _SPLIT_SEED)
    description = Description(
        name="digits",
        classes=[str(digit) for digit in range(10)],
        quality=DEFAULT_QUALITY,
        source=_SOURCE,
        random_crop=False,
        horizontal_flip=False,  # a mirrored digit is another sign
    )
    splits = {
        split: (Sample(_encode_scan(scans[index]), int(labels[index])) for index in indices)
        for split, indices in (("train", train), ("val", val))
    }
    counter = RecordCounter(len(labels), on_progress)
    return write_dataset(Path(out_dir), description, splits, _DIGIT_PARTS, counter)


def _load_scans() -> Tuple[Any, Any]:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError(
            "making the digits needs scikit-learn, which is not installed; pip install scikit-learn"
        ) from None
    digits = load_digits()
    return digits.images, digits.target


def split_stratified(
    labels: Sequence[int], val_share: float, seed: int
) -> Tuple[List[int], List[int]]:
    """Shuffled indices of (training, validation) samples with `val_share` of each class in the
    latter; the same for the same seed on every Python."""
    source = random.Random(seed)
    train: List[int] = []
    val: List[int] = []
    for label in sorted({int(value) for value in labels}):
        members = [index for index, value in enumerate(labels) if value == label]
        source.shuffle(members)
        held_out = round(len(members) * val_share)
        val += members[:held_out]
        train += members[held_out:]
    source.shuffle(train)
    source.shuffle(val)
    return train, val


def _encode_scan(scan: Any) -> bytes:
    pixels = np.rint(np.asarray(scan) * (255 / _LEVELS)).astype(np.uint8)
    enlarged = Image.fromarray(pixels).resize(
        (_DIGIT_SIDE, _DIGIT_SIDE), resample=Image.Resampling.BICUBIC
    )
    return encode_jpeg(convert_to_rgb(enlarged), DEFAULT_QUALITY)
