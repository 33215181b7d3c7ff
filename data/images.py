"""Pictures with Pillow: conversion to RGB JPEG, all that OneFlow decodes rightly, and checks.

OneFlow 0.9.0 reads a grayscale JPEG wrongly, corrupts its heap on CMYK, ignores EXIF rotation, and
leaves the process on a damaged file; so nothing but whole RGB JPEGs is stored or let through.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import DataError

DEFAULT_QUALITY = 90
_EXIF_ORIENTATION = 0x0112
_JPEG_FORMATS = ("JPEG", "MPO")
# what Pillow raises on damaged or oversized files, depending on the format
DECODE_ERRORS = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    Image.DecompressionBombError,
)


class ImageFacts(NamedTuple):
    """Width and height in pixels; sums of the channel values (0..255) and of their squares."""

    width: int
    height: int
    sums: Tuple[int, int, int]
    squares: Tuple[int, int, int]


def check_jpeg(encoded: bytes, where: str) -> Tuple[int, int]:
    """Decode a stored image; returns (width, height). `where` names it in errors.

    Raises DataError where the bytes are no whole JPEG with three channels.
    """
    image = _decode_jpeg(encoded, where)
    return image.size


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
            f"{where} holds an image that cannot be decoded ({in_one_line(error)}); "
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
    transparency is laid on white. Raises DataError where the picture cannot be read.
    """
    try:
        original = path.read_bytes()
        image = Image.open(io.BytesIO(original))
        image.load()
        rotation = image.getexif().get(_EXIF_ORIENTATION, 1)
        is_plain = image.format == "JPEG" and image.mode == "RGB" and rotation == 1
        if is_plain and (max_side is None or max(image.size) <= max_side):
            return original
        upright = convert_to_rgb(apply_orientation(image))
    except DECODE_ERRORS as error:
        raise DataError(
            f"{path} cannot be read as a picture ({in_one_line(error)}); repair or remove it"
        ) from None
    if max_side is not None and max(upright.size) > max_side:
        upright.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return encode_jpeg(upright, quality)


def apply_orientation(image: Image.Image) -> Image.Image:
    """The image as a viewer shows it: turned as its EXIF data say."""
    return ImageOps.exif_transpose(image) or image


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """RGB from grayscale (8 or 16 bit), CMYK, palette or transparent images (laid on white)."""
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


def in_one_line(error: BaseException) -> str:
    """An error's text without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
