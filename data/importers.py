"""Makes datasets: of the layouts in which others publish theirs, and of scikit-learn's handwritten
digits: 1,797 real scans, 8 x 8 pixels of 16 levels.

Source of the digits: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI
Machine Learning Repository (CC BY 4.0), the copy that scikit-learn ships.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from .converting import convert_splits
from .errors import DataError
from .files import AnyPath
from .index import DatasetInfo, Progress, RecordCounter
from .ofrecord_file import list_held
from .pictures import DEFAULT_QUALITY, convert_to_rgb, encode_jpeg
from .sources import Choices, Note, Source, count_of, name_some
from .sources.labels import are_signs, name_classes
from .sources.recognition import read_source, recognise
from .writer import Description, Sample, check_target, write_dataset

_DIGIT_SIDE = 32
_DIGIT_PARTS = 2
_PARTS = 4
_LEVELS = 16
_SHUFFLE_SEED, _SPLIT_SEED = 0, 1797
_VAL_SHARE = 0.2
_SOURCE = (
    "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning "
    "Repository, CC BY 4.0; as in sklearn.datasets.load_digits, enlarged from 8 x 8"
)


@dataclass(frozen=True)
class Wishes:
    """What an import is to make of a source.

    `format` None: it is recognised. `val_fraction` of each class goes to the validation split of a
    source without one, drawn from `seed`. `flips` and `crops` say whether training may mirror and
    crop at random; None: no flips where the classes are digits or letters, and no crops where the
    pictures are of a few pixels. `class_names` is a file of readable names.
    """

    format: Optional[str] = None
    val_fraction: Optional[float] = None
    seed: int = 0
    flips: Optional[bool] = None
    crops: Optional[bool] = None
    class_names: Optional[AnyPath] = None
    image_key: Optional[str] = None
    label_key: Optional[str] = None
    label_base: Optional[int] = None


def import_dataset(
    source: AnyPath,
    out_dir: AnyPath,
    wishes: Wishes = Wishes(),
    parts: Optional[int] = None,
    workers: Optional[int] = None,
    quality: int = DEFAULT_QUALITY,
    on_progress: Optional[Progress] = None,
    skip_unreadable: bool = False,
    on_note: Note = lambda sentence: None,
) -> DatasetInfo:
    """Convert a dataset in one of `sources.recognition.FORMATS` into OFRecord.

    RGB JPEGs are stored as they are; any other picture is converted and encoded at `quality`.
    `parts` are the part files of a split; None: 4, or as many as the smallest split has pictures.
    Pictures are shuffled once with a fixed seed; the result does not depend on `workers`
    (processes; default: one a core). `on_note` gets a sentence with the format, for each choice
    made, each file that `skip_unreadable` left out, and classes without pictures. Raises DataError
    for what is no such source, a missing split, a target that is not empty, and for unreadable
    pictures, with all of them.
    """
    root, target = Path(source), Path(out_dir)
    check_target(target)
    keys = (wishes.image_key, wishes.label_key, wishes.label_base)
    found = read_source(root, wishes.format or recognise(root), Choices(*keys, on_note))
    on_note(f"{root} is read as {found.kind}")
    _split(found, wishes, root, on_note)
    parts = _choose_parts(found, parts, on_note)
    _note_missing(found, root, on_note)
    description = _describe(found, wishes, root, quality, on_note)
    for pictures in found.splits.values():
        random.Random(_SHUFFLE_SEED).shuffle(pictures)
    return _convert_and_write(
        found, description, target, parts, workers, on_progress, skip_unreadable, on_note
    )


def import_imagefolder(folder: AnyPath, out_dir: AnyPath, *args: Any, **named: Any) -> DatasetInfo:
    """`import_dataset` of a folder in ImageNet's layout, with its arguments behind `wishes`."""
    return import_dataset(folder, out_dir, Wishes("imagefolder"), *args, **named)


def _split(found: Source, wishes: Wishes, root: Path, on_note: Note) -> None:
    """Take the validation split from the training pictures if the source has none."""
    share = wishes.val_fraction
    if "val" in found.splits:
        if share is not None:
            raise DataError(
                f"{root} has a validation split already, and --val-fraction {share:g} would make "
                "another; leave it out"
            )
        return
    if share is None:
        raise DataError(
            f"{root} has no val/ or other validation split; give --val-fraction 0.1 to take a "
            "tenth of each class"
        )
    if not 0 < share < 1:
        raise DataError(f"--val-fraction {share:g} is no share; give one between 0 and 1")
    pictures = found.splits["train"]
    labels = [0 if isinstance(label, tuple) else label for _, label in pictures]
    train, val = split_stratified(labels, share, wishes.seed)
    if not train or not val:
        raise DataError(
            f"--val-fraction {share:g} leaves {len(train)} of {len(pictures)} pictures to train on "
            f"and {len(val)} to validate; give another share or more pictures"
        )
    chosen = {"train": sorted(train), "val": sorted(val)}
    found.splits = {name: [pictures[n] for n in numbers] for name, numbers in chosen.items()}
    on_note(
        f"{len(val)} of {count_of(len(pictures), 'picture')} are the validation split: "
        f"{100 * len(val) / len(pictures):.3g} %, and --val-fraction asked for {100 * share:.3g} %"
    )


def _choose_parts(found: Source, asked: Optional[int], on_note: Note) -> int:
    """As many part files as were asked for. Raises DataError for more than a split has pictures."""
    fewest, split = min((len(pictures), name) for name, pictures in found.splits.items())
    if asked is None:
        if 0 < fewest < _PARTS:
            on_note(
                f"the split {split} has {count_of(fewest, 'picture')}, so it is --parts {fewest}"
            )
        return min(_PARTS, max(fewest, 1))
    if asked > fewest:
        raise DataError(
            f"{split} has {count_of(fewest, 'picture')} for --parts {asked}; give --parts "
            f"{max(fewest, 1)} or less, or more pictures"
        )
    return asked


def _note_missing(found: Source, root: Path, on_note: Note) -> None:
    for split, pictures in found.splits.items():
        held = {number for one in pictures for number in list_held(one.label)}
        missing = [name for number, name in enumerate(found.classes) if number not in held]
        if missing:
            on_note(f"the {split} split of {root} has no pictures of {name_some(missing)}")


def _describe(
    found: Source, wishes: Wishes, root: Path, quality: int, on_note: Note
) -> Description:
    file = None if wishes.class_names is None else Path(wishes.class_names)
    names = found.names if found.names and not file else name_classes(found.classes, file, on_note)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{root} has two classes called {twice}; give --class-names FILE")
    if found.multi_label and len(names) < 2:
        raise DataError(f"{root} has lists of {len(names)} different labels; give two or more")
    flips, crops = wishes.flips, wishes.crops
    if flips is None:
        flips = not are_signs(names)
        if not flips:
            on_note("classes are digits or letters, so no picture is mirrored; --flips does it")
    return Description(
        name=root.resolve().stem if root.is_file() else root.resolve().name,
        classes=names,
        quality=quality,
        source=found.kind,
        random_crop=found.crops if crops is None else crops,
        horizontal_flip=flips,
        multi_label=found.multi_label,
    )


def _convert_and_write(
    found: Source,
    description: Description,
    target: Path,
    parts: int,
    workers: Optional[int],
    on_progress: Optional[Progress],
    skip_unreadable: bool,
    on_note: Note,
) -> DatasetInfo:
    unreadable: List[str] = []
    total = sum(map(len, found.splits.values()))
    with convert_splits(found.splits, description.quality, workers) as converted:

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
                    f"{len(unreadable)} of {total} files cannot be used; "
                    "--skip-unreadable goes on without them:\n  " + "\n  ".join(unreadable)
                )

        counter = RecordCounter(total, on_progress)
        splits = {name: keep_readable(name) for name in converted}
        dataset = write_dataset(target, description, splits, parts, counter)
    for sentence in unreadable:
        on_note(f"skipped: {sentence}")
    for name, count in zip(dataset.classes, dataset.train.class_counts or ()):
        if count == 0 and unreadable:
            on_note(f"none of the training pictures of {name} could be read")
    return dataset


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
    latter, but not all of a class; the same for the same seed on every Python."""
    source = random.Random(seed)
    by_class: Dict[int, List[int]] = {}
    for index, value in enumerate(labels):
        by_class.setdefault(int(value), []).append(index)
    train: List[int] = []
    val: List[int] = []
    for _, members in sorted(by_class.items()):
        source.shuffle(members)
        held_out = min(round(len(members) * val_share), len(members) - 1)
        val += members[:held_out]
        train += members[held_out:]
    source.shuffle(train)
    source.shuffle(val)
    return train, val


def _encode_scan(scan: Any) -> bytes:
    pixels = np.rint(np.asarray(scan) * (255 / _LEVELS)).astype(np.uint8)
    enlarged = Image.fromarray(pixels).resize((_DIGIT_SIDE,) * 2, Image.Resampling.BICUBIC)
    return encode_jpeg(convert_to_rgb(enlarged), DEFAULT_QUALITY)
