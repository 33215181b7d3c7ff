"""IDX files, in which MNIST and its likes are published, plain or compressed by gzip.

Two zero bytes, the type of the values, the number of dimensions, each size as four bytes with the
highest first, and the values. Pictures are (N, H, W) of uint8, labels (N,) of uint8.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np

from ..errors import DataError
from ..files import open_regular
from . import Choices, Source, list_names
from .arrays import label_arrays

_MAX_BYTES = 1 << 31
_LEAST_BYTES = 8  # of type and one size
_UINT8 = 0x08
_MAX_DIMENSIONS = 4
_SPLITS = {"train": "train", "t10k": "val", "test": "val", "val": "val", "valid": "val"}
_IMAGES = re.compile(r"(?:.*[-_])?(train|t10k|test|valid|val)-images[.-]idx[34]-ubyte(?:\.gz)?$")


def is_idx(path: Path) -> bool:
    return bool(_find_images(path))


def _find_images(folder: Path) -> Dict[str, str]:
    """The names of the files of pictures by split. Raises DataError for two of one split."""
    found: Dict[str, str] = {}
    for name in list_names(folder):
        match = _IMAGES.match(name)
        if match:
            split = _SPLITS[match.group(1)]
            other = found.setdefault(split, name)
            if name not in (other, f"{other}.gz"):  # a copy that is compressed
                raise DataError(
                    f"{folder} has the pictures of two splits {split}, {other} and {name}; give a "
                    "folder with one of them"
                )
    return found


def read_idx_folder(folder: Path, choices: Choices) -> Source:
    """The pictures of a folder. The test files are the validation split.

    Raises DataError for a folder without training files, and for a missing or damaged file.
    """
    files = _find_images(folder)
    if "train" not in files:
        raise DataError(
            f"{folder} has no training pictures in IDX; expected train-images-idx3-ubyte and "
            "train-labels-idx1-ubyte, or both with .gz"
        )
    found = {
        split: (read_idx(folder / name), read_idx(_find_labels(folder, name)))
        for split, name in files.items()
    }
    return label_arrays("IDX files, as of MNIST", folder, found, choices)


def _find_labels(folder: Path, images: str) -> Path:
    name = re.sub("images([.-])idx[34]", r"labels\1idx1", images)
    plain = name[: -len(".gz")] if name.endswith(".gz") else name
    candidates: List[Path] = [folder / name, folder / plain, folder / f"{plain}.gz"]
    found: Optional[Path] = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise DataError(f"{folder / name} is missing beside {images}; add it")
    return found


def read_idx(path: Path) -> np.ndarray:
    """The values uint8 of an IDX file. Raises DataError for a damaged one and other types."""
    try:
        with open_regular(path) as file:
            source = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            data = source.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        if len(data) < _LEAST_BYTES:
            raise ValueError(f"it has {len(data)} bytes")
        zeros, kind, dimensions = struct.unpack(">HBB", data[:4])
        if zeros or kind != _UINT8 or not 0 < dimensions <= _MAX_DIMENSIONS:
            raise ValueError("it does not begin as one of unsigned bytes")
        shape = struct.unpack(f">{dimensions}I", data[4 : 4 * (1 + dimensions)])
        start = 4 * (1 + dimensions)
        if math.prod(shape) != len(data) - start or not data[start:]:
            raise ValueError(f"it has {len(data) - start} values and {shape} are announced")
        return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{path} cannot be read as an IDX file ({reason}); download it again"
        ) from None
