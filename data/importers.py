"""Makes datasets: of folders of pictures (ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg), and of
scikit-learn's handwritten digits: 1,797 real scans, 8 x 8 pixels of 16 levels.

Source of the digits: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI
Machine Learning Repository (CC BY 4.0), the copy that scikit-learn ships.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import signal
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, Callable, Deque, Generator, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
from PIL import Image

from .errors import DataError
from .files import AnyPath
from .index import DatasetInfo, Progress, RecordCounter, find_split_folder
from .pictures import (
    DEFAULT_QUALITY,
    PICTURE_SUFFIXES,
    convert_file,
    convert_to_rgb,
    encode_jpeg,
    is_picture_name,
)
from .writer import Description, Sample, check_target, write_dataset

_CHUNK = 64
_CHUNKS_PER_WORKER = 2  # under way; bounds memory
_PR_SET_PDEATHSIG = 1
_DIGIT_SIDE = 32
_DIGIT_PARTS = 2
_LEVELS = 16
_SHUFFLE_SEED, _SPLIT_SEED = 0, 1797
_VAL_SHARE = 0.2
_SOURCE = (
    "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning "
    "Repository, CC BY 4.0; as in sklearn.datasets.load_digits, enlarged from 8 x 8"
)

Labelled = Tuple[str, int]  # path and label
Converted = Union[Sample, str]  # a sentence for a file that cannot be read
Convert = Callable[[Sequence[Labelled]], List[Converted]]
Note = Callable[[str], None]


def import_imagefolder(
    folder: AnyPath,
    out_dir: AnyPath,
    parts: int = 4,
    workers: Optional[int] = None,
    quality: int = DEFAULT_QUALITY,
    on_progress: Optional[Progress] = None,
    skip_unreadable: bool = False,
    on_note: Note = lambda sentence: None,
) -> DatasetInfo:
    """Convert a folder in ImageNet's layout (`validation/` serves for `val/`) into OFRecord.

    Classes are the folders of train/ in sorted order; hidden folders and files are left out. RGB
    JPEGs are stored as they are; any other picture is converted and encoded at `quality`. Pictures
    are shuffled once with a fixed seed; the result does not depend on `workers` (processes;
    default: one a core). `on_note` gets a sentence for each file that `skip_unreadable` left out
    and each class without pictures to validate on. Raises DataError for a missing split, a class
    without training pictures or with validation ones alone, a target that is not empty, and for
    unreadable pictures, with all of them.
    """
    root, target = Path(folder), Path(out_dir)
    check_target(target)
    classes = _list_classes(root)
    convert = partial(_convert_chunk, quality=quality)
    description = Description(root.resolve().name, classes, quality, source="imagefolder")
    processes = workers or len(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with OneFlow loaded hangs
    unreadable: List[str] = []
    with ExitStack() as stack:
        started = ProcessPoolExecutor(processes, spawn, _end_with_parent, (os.getpid(),))
        pool = stack.enter_context(started) if processes > 1 else None
        if pool:  # each call starts a process, while the files are listed
            pool.map(convert, [()] * processes)
        train, val = _list_pictures(root, classes, on_note)
        converted = {
            name: stack.enter_context(closing(_convert_all(convert, pictures, pool, processes)))
            for name, pictures in (("train", train), ("val", val))
        }

        def keep_readable(name: str) -> Iterator[Sample]:
            for one in converted[name]:
                if isinstance(one, Sample):
                    yield one
                else:
                    unreadable.append(one)
            if unreadable and not skip_unreadable:
                later = (one for split in converted.values() for one in split)
                unreadable.extend(one for one in later if isinstance(one, str))
                raise DataError(
                    f"{len(unreadable)} of {len(train) + len(val)} files cannot be used; "
                    "--skip-unreadable goes on without them:\n  " + "\n  ".join(unreadable)
                )

        counter = RecordCounter(len(train) + len(val), on_progress)
        splits = {name: keep_readable(name) for name in converted}
        dataset = write_dataset(target, description, splits, parts, counter)
    for sentence in unreadable:
        on_note(f"skipped: {sentence}")
    for name, count in zip(dataset.classes, dataset.train.class_counts or ()):
        if count == 0:
            on_note(f"none of the training pictures of {name} could be read")
    return dataset


def _end_with_parent(parent: int) -> None:
    """Leave Ctrl-C to the parent, and let the kernel end this process with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def _convert_all(
    convert: Convert,
    pictures: Sequence[Labelled],
    pool: Optional[ProcessPoolExecutor],
    processes: int,
) -> Generator[Converted, None, None]:
    """The samples of the pictures in order, made in this process or in those of a pool."""
    chunks = (pictures[start : start + _CHUNK] for start in range(0, len(pictures), _CHUNK))
    if pool is None:
        for chunk in chunks:
            yield from convert(chunk)
        return
    waiting: Deque[Future[List[Converted]]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(convert, chunk))
            if len(waiting) == processes * _CHUNKS_PER_WORKER:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise DataError(
            f"a process converting {Path(pictures[0][0]).parents[1]} died, as happens when "
            f"memory runs out; give less than --workers {processes}"
        ) from None
    finally:
        for one in waiting:
            one.cancel()


def _convert_chunk(pictures: Sequence[Labelled], quality: int) -> List[Converted]:
    converted: List[Converted] = []
    for path, label in pictures:
        try:
            encoded, facts = convert_file(Path(path), quality)
            converted.append(Sample(encoded, label, facts))
        except DataError as error:
            converted.append(str(error))
    return converted


def _list_classes(root: Path) -> List[str]:
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
    return classes


def _list_pictures(
    root: Path, classes: Sequence[str], on_note: Note
) -> Tuple[List[Labelled], List[Labelled]]:
    (train, empty), (val, not_validated) = (
        _shuffled(find_split_folder(root, split), classes, on_note) for split in ("train", "val")
    )
    if empty:
        raise DataError(
            f"{root / 'train'} holds no pictures of {len(empty)} classes: {', '.join(empty)}; "
            "add some or remove their folders"
        )
    if not_validated:
        on_note(f"the val split of {root} has no pictures of {', '.join(not_validated)}")
    return train, val


def _subfolders(folder: Path) -> List[str]:
    visible = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    dangling = [entry for entry in visible if entry.is_symlink() and not entry.exists()]
    if dangling:
        raise DataError(
            f"{dangling[0]} is a link to {os.readlink(dangling[0])}, which does not exist; mend it "
            "or remove it"
        )
    return sorted(entry.name for entry in visible if entry.is_dir())


def _shuffled(
    folder: Path, classes: Sequence[str], on_note: Note
) -> Tuple[List[Labelled], List[str]]:
    """The labelled pictures of a split in a fixed random order, and the classes without any."""
    by_class = [_list_files(folder / name) for name in classes]
    files = [(path, label) for label, paths in enumerate(by_class) for path in paths]
    pictures = [one for one in files if is_picture_name(one[0])]
    kinds = ", ".join(PICTURE_SUFFIXES)
    if not pictures:
        raise DataError(
            f"{folder} holds no pictures; expected {folder.name}/CLASS/ folders with files of type "
            f"{kinds}"
        )
    others = [path for path, _ in files if not is_picture_name(path)]
    if others:
        on_note(f"left out {len(others)} files, first {others[0]}: their type is none of {kinds}")
    filled = {label for _, label in pictures}
    random.Random(_SHUFFLE_SEED).shuffle(pictures)
    return pictures, [name for label, name in enumerate(classes) if label not in filled]


def _list_files(folder: Path) -> List[str]:
    """All files below a folder in the order of their paths; nothing that is hidden."""
    found: List[str] = []
    for inside, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(inside, name) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: path.split(os.sep))


def make_digits(out_dir: AnyPath, on_progress: Optional[Progress] = None) -> DatasetInfo:
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
    enlarged = Image.fromarray(pixels).resize((_DIGIT_SIDE,) * 2, Image.Resampling.BICUBIC)
    return encode_jpeg(convert_to_rgb(enlarged), DEFAULT_QUALITY)
