"""Pictures as whole RGB JPEGs, read with limits on formats and sizes.

OneFlow 0.9.0 reads a grayscale JPEG wrongly, corrupts its heap on CMYK, ignores EXIF rotation, and
ends the process on a damaged file. So only whole RGB JPEGs are stored or accepted. Pillow passes a
JPEG whose scan ends early; simplejpeg reports libjpeg's warning of it.
"""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, NamedTuple, Optional, Tuple

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import DataError
from .files import read_regular

DEFAULT_QUALITY = 90
# no other format is tried, so that a file cannot choose which of Pillow's plug-ins reads it
READ_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
PICTURE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"
)  # fmt: skip
MAX_BYTES = 1 << 28  # of one picture's file
MAX_PIXELS = 89_478_485  # Pillow's own limit
MAX_SIDE = 32_767  # OneFlow 0.9.0 crashes when it crops a higher picture
MAX_ASPECT = 1_000
_EXIF_ORIENTATION = 0x0112
_TIFF_BITS = 258  # of a sample
_JPEG_START = b"\xff\xd8"
_JPEG_FORMATS = ("JPEG", "MPO")
_COLOURS = {"Gray": "Gray", "CMYK": "CMYK", "YCCK": "CMYK"}  # all others are read as RGB
_POWERS = np.stack([np.arange(256), np.arange(256) ** 2])
_SIGNS = (b"Exif", b"ns.adobe.com/xap", b"MPF\0")  # of rotation, or of several pictures in a file
# warnings of libjpeg after which the picture is whole
_HARMLESS = re.compile("extraneous bytes|Invalid SOS parameters|Adobe color transform|JFIF")


class ImageFacts(NamedTuple):
    """Width and height in pixels; sums of the channel values (0..255) and of their squares."""

    width: int
    height: int
    sums: Tuple[int, int, int]
    squares: Tuple[int, int, int]


def check_jpeg(encoded: bytes, where: str) -> Tuple[int, int]:
    """Decode a stored image; returns (width, height). `where` names it in errors.

    Raises DataError unless the bytes are a whole JPEG with three channels, within the limits.
    """
    height, width = _decode_jpeg(encoded, where).shape[:2]
    return width, height


def measure_jpeg(encoded: bytes, where: str) -> ImageFacts:
    """As `check_jpeg`, with the exact integer sums that mean and deviation are made of."""
    return _measure(_decode_jpeg(encoded, where))


def read_jpeg_size(encoded: bytes) -> Tuple[int, int]:
    """(width, height) of a JPEG that was checked before."""
    height, width, *_ = simplejpeg.decode_jpeg_header(encoded, strict=False)
    return width, height


def _measure(pixels: np.ndarray) -> ImageFacts:
    height, width = pixels.shape[:2]
    channels = (pixels[..., channel].ravel() for channel in range(3))
    counts = [np.bincount(channel, minlength=256) for channel in channels]
    sums, squares = (_POWERS @ np.array(counts).T).tolist()
    return ImageFacts(width, height, tuple(sums), tuple(squares))


def _decode_jpeg(encoded: bytes, where: str) -> np.ndarray:
    try:
        pixels = _decode_whole(encoded)
    except Exception as error:  # a damaged file raises nearly anything
        reason, found = _in_one_line(error), _identify(encoded)
        if found is None or found in [(name, "RGB") for name in _JPEG_FORMATS]:
            raise DataError(
                f"{where} holds an image that cannot be decoded ({reason}); "
                "write or import the dataset again"
            ) from None
        raise _no_rgb_jpeg(where, *found) from None
    if pixels.shape[2] != 3:
        raise _no_rgb_jpeg(where, "JPEG", {1: "L", 4: "CMYK"}[pixels.shape[2]])
    return pixels


def _no_rgb_jpeg(where: str, kind: Optional[str], mode: str) -> DataError:
    return DataError(
        f"{where} holds a {kind} image of mode {mode} where OneFlow's decoder needs an RGB JPEG; "
        "import the pictures again with bench data import imagefolder"
    )


def _identify(encoded: bytes) -> Optional[Tuple[Optional[str], str]]:
    """Format and mode of a picture; None for what is none."""
    try:
        image = Image.open(io.BytesIO(encoded), formats=READ_FORMATS)
    except Exception:
        return None
    return image.format, image.mode


def _decode_whole(encoded: bytes) -> np.ndarray:
    """The pixels (H, W, C) of a JPEG. Raises ValueError where a part of it is missing."""
    height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded, strict=False)
    _check_limits(width, height)
    wanted = _COLOURS.get(colours, "RGB")
    try:
        pixels = simplejpeg.decode_jpeg(encoded, wanted)
    except ValueError as error:
        if not _HARMLESS.search(str(error)):
            raise
        pixels = simplejpeg.decode_jpeg(encoded, wanted, strict=False)
    return np.asarray(pixels)


def _check_limits(width: int, height: int) -> None:
    """Raise ValueError for a size that OneFlow or the memory would not stand."""
    low, high = sorted((width, height))
    for value, most, unit in (
        (high, MAX_SIDE, "pixels a side"),
        (width * height, MAX_PIXELS, "pixels"),
        (high / max(low, 1), MAX_ASPECT, "times as long as wide"),
    ):
        if value > most or low < 1:
            raise ValueError(f"it has {width} x {height} pixels; at most {most} {unit} are read")


def open_picture(encoded: bytes) -> Image.Image:
    """The first picture of a file, decoded. Raises nearly anything for a damaged one.

    Raises ValueError for numbers of which none is known to be white.
    """
    image = Image.open(io.BytesIO(encoded), formats=READ_FORMATS)
    _check_limits(*image.size)
    if image.mode == "F" or (image.format == "TIFF" and image.mode == "I"):
        kind = "floating-point" if image.mode == "F" else "signed or 32-bit"
        raise ValueError(
            f"it has {kind} samples, whose black and white are unknown; use 8 or 16 bit"
        )
    if image.format in _JPEG_FORMATS:
        _decode_whole(encoded)
    image.load()
    return image


def convert_file(path: Path, quality: int) -> Tuple[bytes, ImageFacts]:
    """The picture at `path` as `convert_bytes` gives it. Raises DataError if it cannot be read."""
    with reading(path):
        original = read_regular(path, MAX_BYTES)
    return convert_bytes(original, path, quality)


def convert_bytes(original: bytes, where: object, quality: int) -> Tuple[bytes, ImageFacts]:
    """A picture as bytes of an upright RGB JPEG, and its sizes and sums.

    An RGB JPEG without rotation is passed through unchanged; transparency is laid on white. Raises
    DataError, which names it by `where`, if the picture cannot be read.
    """
    with reading(where):
        if _is_plain(original):
            return original, _measure(_decode_whole(original))
        upright = convert_to_rgb(open_picture(original))
    encoded = encode_jpeg(upright, quality)
    return encoded, measure_jpeg(encoded, str(where))


def convert_pixels(pixels: np.ndarray, quality: int) -> Tuple[bytes, ImageFacts]:
    """Pixels uint8 (H, W) or (H, W, 3 or 4) as an RGB JPEG, and its sizes and sums.

    The colours keep their resolution, which pictures of a few pixels need. Raises DataError for
    sizes that are not read.
    """
    with reading("an array"):
        _check_limits(pixels.shape[1], pixels.shape[0])
        image = convert_to_rgb(Image.fromarray(np.ascontiguousarray(pixels)))
        encoded = encode_jpeg(image, quality, subsampling=0)
    return encoded, measure_jpeg(encoded, "an array")


def _is_plain(encoded: bytes) -> bool:
    """Whether the bytes begin as an upright RGB JPEG."""
    if not encoded.startswith(_JPEG_START):
        return False
    if simplejpeg.decode_jpeg_header(encoded, strict=False)[2] in _COLOURS:
        return False
    if not any(sign in encoded for sign in _SIGNS):
        return True
    image = Image.open(io.BytesIO(encoded), formats=READ_FORMATS)
    return image.format == "JPEG" and image.getexif().get(_EXIF_ORIENTATION, 1) == 1


@contextmanager
def reading(path: object) -> Iterator[None]:
    """Raise whatever Pillow raises for a damaged file as a DataError that names the file."""
    try:
        yield
    except Exception as error:  # a damaged file raises nearly anything
        raise DataError(
            f"{path} cannot be read as a picture ({_in_one_line(error)}); repair or remove it"
        ) from None


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """RGB from grayscale (8, 12 or 16 bit), CMYK, palette or transparent images (laid on white).

    The image is as a viewer shows it: turned upright by its EXIF data. Of more than 8 bits the
    highest 8 are taken.
    """
    bits = getattr(image, "tag_v2", {}).get(_TIFF_BITS, (16,))[0]
    image = ImageOps.exif_transpose(image) or image
    if image.mode.startswith("I"):
        samples = np.asarray(image).astype(np.int64) >> bits - 8
        image = Image.fromarray(np.clip(samples, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        overlay = image.convert("RGBA")
        ground = Image.new("RGBA", overlay.size, (255, 255, 255, 255))
        image = Image.alpha_composite(ground, overlay)
    return image.convert("RGB")


def encode_jpeg(image: Image.Image, quality: int, subsampling: int = -1) -> bytes:
    """JPEG bytes of an RGB image; the same Pillow gives the same bytes.

    `subsampling` is Pillow's, with 0 for colours of full resolution and -1 for its default.
    """
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, optimize=True, subsampling=subsampling)
    return buffer.getvalue()


def _in_one_line(error: BaseException) -> str:
    """An error's text without line breaks."""
    if isinstance(error, UnidentifiedImageError):  # its text names a buffer
        return f"it is none of {', '.join(READ_FORMATS)}, or its beginning is damaged"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return text if re.search("[a-z]", text) else "its bytes are damaged"


def is_picture(path: Path) -> bool:
    """Whether a path is named as a picture and is not hidden; it may still not be readable."""
    return is_picture_name(path.name) and not path.name.startswith(".") and not path.is_dir()


def is_picture_name(name: str) -> bool:
    return name.lower().endswith(PICTURE_SUFFIXES)
