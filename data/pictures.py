"""Single pictures for inference: found by path, folder or pattern, brought to a model's input."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import List, Sequence

import numpy as np
from PIL import Image

from .errors import DataError
from .images import DECODE_ERRORS, apply_orientation, convert_to_rgb, in_one_line

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True)
class InputScale:
    """How pixels become a model's input: side in pixels; mean and std per channel in 0..255.

    The shorter side is brought to image_size * resize_ratio and the centre is cropped, as in the
    validation of the suite's own loader.
    """

    image_size: int
    mean: Sequence[float]
    std: Sequence[float]
    resize_ratio: float


def find_pictures(sources: Sequence[str]) -> List[Path]:
    """Files that the arguments name: files as they are, pictures of a folder, matches of a pattern.

    A folder gives the files whose suffix is a picture's, in the order of their names. Raises
    DataError for what does not exist, an empty folder, and a pattern without a match.
    """
    found: List[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
            if not inside:
                raise DataError(f"the folder {source} holds no pictures (.jpg, .png and the like)")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            matches = sorted(Path(p) for p in glob.glob(source, recursive=True))
            files = [match for match in matches if match.is_file()]
            if not files:
                raise DataError(f"{source} is no file and no pattern that matches one")
            found += files
    return found


def read_picture(path: Path, scale: InputScale) -> np.ndarray:
    """The picture as float32 (3, S, S), normalised. Raises DataError for what is no picture."""
    try:
        with Image.open(path) as opened:
            opened.load()
            image = convert_to_rgb(apply_orientation(opened))
    except DECODE_ERRORS as error:
        raise DataError(f"{path} cannot be read as a picture ({in_one_line(error)})") from None
    size = scale.image_size
    ratio = round(size * scale.resize_ratio) / min(image.size)
    width, height = (max(size, round(side * ratio)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32)
    scaled = (pixels - np.asarray(scale.mean, np.float32)) / np.asarray(scale.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))
