"""Pictures as a model's input, the names of its classes, and made-up batches."""

from __future__ import annotations

import glob
import json
from dataclasses import dataclass
from pathlib import Path
from typing import List, Sequence, Tuple, Union

import numpy as np
from PIL import Image

from .errors import DataError
from .files import AnyPath, read_regular, read_text
from .index import IMAGENET_MEAN, IMAGENET_STD, RESIZE_RATIO
from .pictures import MAX_BYTES, convert_to_rgb, is_picture, open_picture, reading

_MAX_LABEL_BYTES = 1 << 24
_PATTERN_SEED, _PATTERN_SIDE, _NOISE = 20230101, 8, 0.5
_IMAGENET_FILE = Path(__file__).resolve().parent / "imagenet_names.json"


def imagenet_names() -> Tuple[str, ...]:
    """The 1,000 classes of ILSVRC2012 in the order of their labels."""
    return tuple(json.loads(_IMAGENET_FILE.read_text(encoding="utf-8"))["classes"])


def load_labels(path: AnyPath, what: str = "the labels") -> Tuple[str, ...]:
    """Names from a text file, one a line in the order of the labels, or a JSON list of them.

    `what` names the file in errors. Raises DataError for a file that cannot be read or holds no
    names.
    """
    path = Path(path)
    try:
        text = read_text(path, _MAX_LABEL_BYTES)
        names = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{what} {path} cannot be read ({reason}); give a text file with a name a line, or "
            "a JSON list of names"
        ) from None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    stripped = [name.strip() for name in names] if is_list else []
    while stripped and not stripped[-1]:
        stripped.pop()
    if not stripped:
        raise DataError(f"{what} {path} hold no list of names; give one name a line")
    return tuple(stripped)


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


def find_pictures(sources: Sequence[AnyPath]) -> List[Path]:
    """Files that the arguments name: files as they are, pictures of a folder, matches of a pattern.

    A folder gives the files whose suffix is a picture's, in the order of their names. Raises
    DataError for a missing file, an empty folder, and a pattern without a match.
    """
    found: List[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if is_picture(p))
            if not inside:
                raise DataError(f"the folder {source} holds no pictures (.jpg, .png and the like)")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            matches = sorted(Path(p) for p in glob.glob(str(source), recursive=True))
            files = [match for match in matches if match.is_file()]
            if not files:
                raise DataError(f"{source} is no file and no pattern that matches one")
            found += files
    return found


def read_picture(path: AnyPath, size: Union[int, InputScale]) -> np.ndarray:
    """The picture as float32 (3, S, S), normalised; `size` is S, for a model of ImageNet.

    Raises DataError if it is none.
    """
    path, scale = Path(path), size
    if not isinstance(scale, InputScale):
        scale = InputScale(scale, IMAGENET_MEAN, IMAGENET_STD, RESIZE_RATIO)
    with reading(path):
        image = convert_to_rgb(open_picture(read_regular(path, MAX_BYTES)))
    size = scale.image_size
    ratio = round(size * scale.resize_ratio) / min(image.size)
    width, height = (max(size, round(side * ratio)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32)
    scaled = (pixels - np.asarray(scale.mean, np.float32)) / np.asarray(scale.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def create_synthetic_batches(
    num_batches: int,
    batch_size: int,
    image_size: int,
    num_classes: int,
    seed: int,
    channels: int = 3,
) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Batches of (images float32 (B, channels, H, W), labels int32 (B,)), the same for a seed.

    An image is its class's fixed 8 x 8 pattern, enlarged, plus noise, at about mean 0 and variance
    1, so that a model can learn it. The patterns do not depend on the seed: batches of another
    seed are new samples of the same classes.
    """
    patterns = np.random.default_rng(_PATTERN_SEED).standard_normal(
        (num_classes, channels, _PATTERN_SIDE, _PATTERN_SIDE), dtype=np.float32
    )
    source = np.random.default_rng(seed)
    place = np.arange(image_size) * _PATTERN_SIDE // image_size
    batches = []
    for _ in range(num_batches):
        labels = source.integers(0, num_classes, size=batch_size, dtype=np.int32)
        images = patterns[labels][:, :, place][:, :, :, place]
        noise = source.standard_normal(images.shape, dtype=np.float32)
        images = (images + _NOISE * noise) / np.float32(np.sqrt(1 + _NOISE**2))
        batches.append((np.ascontiguousarray(images, dtype=np.float32), labels))
    return batches
