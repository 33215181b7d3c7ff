"""scikit-learn's handwritten digits as a dataset: 1,797 real scans, 8 x 8 pixels of 16 levels.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository (CC BY 4.0), the copy that scikit-learn ships.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from .errors import DataError
from .index import DatasetInfo
from .pictures import convert_to_rgb, encode_jpeg
from .writer import Description, Progress, Sample, check_target, write_dataset

IMAGE_SIZE = 32
QUALITY = 90
PARTS = 2
_LEVELS = 16
_SPLIT_SEED = 1797
_VAL_SHARE = 0.2
_SOURCE = (
    "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning "
    "Repository, CC BY 4.0; as in sklearn.datasets.load_digits, enlarged from 8 x 8"
)


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
        quality=QUALITY,
        source=_SOURCE,
        random_crop=False,
        horizontal_flip=False,  # a mirrored digit is another sign
    )
    done = 0

    def encode(indices: Sequence[int]) -> Iterator[Sample]:
        nonlocal done
        for index in indices:
            yield Sample(_encode_scan(scans[index]), int(labels[index]))
            done += 1
            if on_progress:
                on_progress(done, len(labels))

    return write_dataset(
        Path(out_dir), description, {"train": encode(train), "val": encode(val)}, PARTS
    )


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
        (IMAGE_SIZE, IMAGE_SIZE), resample=Image.Resampling.BICUBIC
    )
    return encode_jpeg(convert_to_rgb(enlarged), QUALITY)
