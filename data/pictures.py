"""Pictures with Pillow: as RGB JPEGs for a dataset, as a model's input, and the names of classes.

OneFlow 0.9.0 reads a grayscale JPEG wrongly, corrupts its heap on CMYK, ignores EXIF rotation, and
ends the process on a damaged file. So only whole RGB JPEGs are stored or accepted.
"""

from __future__ import annotations

import glob
import io
import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageOps

from .errors import DataError

DEFAULT_QUALITY = 90
_EXIF_ORIENTATION = 0x0112
_JPEG_FORMATS = ("JPEG", "MPO")
# that Pillow raises on damaged or oversized files, depending on the format
DECODE_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class ImageFacts(NamedTuple):
    """Width and height in pixels; sums of the channel values (0..255) and of their squares."""

    width: int
    height: int
    sums: Tuple[int, int, int]
    squares: Tuple[int, int, int]


def check_jpeg(encoded: bytes, where: str) -> Tuple[int, int]:
    """Decode a stored image; returns (width, height). `where` names it in errors.

    Raises DataError unless the bytes are a whole JPEG with three channels.
    """
    return _decode_jpeg(encoded, where).size


def measure_jpeg(encoded: bytes, where: str) -> ImageFacts:
    """As `check_jpeg`, with the exact integer sums that mean and deviation are made of."""
    image = _decode_jpeg(encoded, where)
    pixels = np.asarray(image, dtype=np.uint32).reshape(-1, 3)
    sums = pixels.sum(axis=0, dtype=np.uint64).tolist()
    squares = (pixels * pixels).sum(axis=0, dtype=np.uint64).tolist()
    return ImageFacts(*image.size, tuple(sums), tuple(squares))


def _decode_jpeg(encoded: bytes, where: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(encoded))
        image.load()
    except DECODE_ERRORS as error:
        raise DataError(
            f"{where} holds an image that cannot be decoded ({_in_one_line(error)}); "
            "write or import the dataset again"
        ) from None
    if image.format not in _JPEG_FORMATS or image.mode != "RGB":
        raise DataError(
            f"{where} holds a {image.format} image of mode {image.mode} where OneFlow's decoder "
            "needs an RGB JPEG; import the pictures again with bench data import imagefolder"
        )
    return image


def convert_file(path: Path, quality: int, max_side: Optional[int] = None) -> bytes:
    """The picture at `path` as bytes of an upright RGB JPEG.

    An RGB JPEG without rotation, not above `max_side` pixels, is passed through unchanged;
    transparency is laid on white. Raises DataError if the picture cannot be read.
    """
    with _reading(path):
        original = path.read_bytes()
        image = Image.open(io.BytesIO(original))
        image.load()
        rotation = image.getexif().get(_EXIF_ORIENTATION, 1)
        is_plain = image.format == "JPEG" and image.mode == "RGB" and rotation == 1
        if is_plain and (max_side is None or max(image.size) <= max_side):
            return original
        upright = convert_to_rgb(image)
    if max_side is not None and max(upright.size) > max_side:
        upright.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return encode_jpeg(upright, quality)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DECODE_ERRORS as error:
        raise DataError(
            f"{path} cannot be read as a picture ({_in_one_line(error)}); repair or remove it"
        ) from None


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """RGB from grayscale (8 or 16 bit), CMYK, palette or transparent images (laid on white).

    The image is as a viewer shows it: turned upright by its EXIF data.
    """
    image = ImageOps.exif_transpose(image) or image
    if image.mode.startswith("I"):
        samples = np.asarray(image).astype(np.int64) >> 8  # 16-bit samples
        image = Image.fromarray(np.clip(samples, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        overlay = image.convert("RGBA")
        ground = Image.new("RGBA", overlay.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, overlay)
    return image.convert("RGB")


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """JPEG bytes of an RGB image; the same Pillow gives the same bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def _in_one_line(error: BaseException) -> str:
    """An error's text without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


_IMAGENET_FILE = Path(__file__).resolve().parent / "imagenet_names.json"


def imagenet_names() -> Tuple[str, ...]:
    """The 1,000 classes of ILSVRC2012 in the order of their labels."""
    return tuple(json.loads(_IMAGENET_FILE.read_text(encoding="utf-8"))["classes"])


def load_labels(path: Path) -> Tuple[str, ...]:
    """Names from a text file, one a line in the order of the labels, or a JSON list of them.

    Raises DataError for a file that cannot be read or holds no names.
    """
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"the labels {path} cannot be read ({reason}); give a text file with a name a line, or "
            "a JSON list of names"
        ) from None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    stripped = [name.strip() for name in names] if is_list else []
    while stripped and not stripped[-1]:
        stripped.pop()
    if not stripped:
        raise DataError(f"the labels {path} hold no list of names; give one name a line")
    return tuple(stripped)


PICTURE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".gif",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
)


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
    DataError for a missing file, an empty folder, and a pattern without a match.
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
    """The picture as float32 (3, S, S), normalised. Raises DataError if it is none."""
    with _reading(path), Image.open(path) as opened:
        image = convert_to_rgb(opened)
    size = scale.image_size
    ratio = round(size * scale.resize_ratio) / min(image.size)
    width, height = (max(size, round(side * ratio)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32)
    scaled = (pixels - np.asarray(scale.mean, np.float32)) / np.asarray(scale.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))
