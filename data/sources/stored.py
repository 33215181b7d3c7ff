"""Arrays in files of NumPy and IDX, and the check of a pickle before it is loaded.

A small file can unfold to a huge value, so there are limits on how far each may.
"""

from __future__ import annotations

import gzip
import math
import pickletools
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Dict, Mapping, Set

import numpy as np

from ..errors import DataError
from ..files import open_regular

MAX_BYTES = 1 << 34
UNSUSPICIOUS_BYTES = 2**30  # of an .npz, however small the file is
LARGEST_RATIO = 100  # of what a larger one unpacks to over the file; weights shrink little
_MAX_SHARED_TUPLES = 40  # of a pickle; more could be nested so that their hash takes for ever
_MAX_TUPLES = 30_000  # more could be nested so that their hash ends the process
_MAX_IDX_BYTES = 1 << 31
_LEAST_IDX_BYTES = 8  # of type and one size
_UINT8 = 0x08
_MAX_DIMENSIONS = 4
_AS_TEXT = "save numbers, or texts after .astype(str)"


def load_npz(path: Path) -> Dict[str, np.ndarray]:
    """The arrays of an .npz file by name. Raises DataError where it cannot be read."""
    try:
        with open_regular(path), zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        limit = min(MAX_BYTES, max(UNSUSPICIOUS_BYTES, LARGEST_RATIO * path.stat().st_size))
        if size > limit:
            raise ValueError(f"it unpacks to {size} bytes and at most {limit} are read")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: _take(stored, name) for name in stored.files}
        others = [name for name, value in arrays.items() if not isinstance(value, np.ndarray)]
        if others:
            raise ValueError(f"{others[0]} is no array")
        return arrays
    except _ObjectArray as error:
        raise DataError(f"{path} cannot be read as .npz ({error}); {_AS_TEXT}") from None
    except Exception as error:  # a damaged archive raises nearly anything
        if isinstance(error, zipfile.BadZipFile) and _begins_as_zip(path):
            raise DataError(
                f"{path} cannot be read as .npz (it is cut short or damaged); copy it again"
            ) from None
        raise DataError(
            f"{path} cannot be read as .npz ({_describe(error)}); save it with numpy.savez, an "
            "array a name"
        ) from None


class _ObjectArray(Exception):
    """An array of Python objects, which only a pickle can hold."""


def _take(stored: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    try:
        return stored[name]
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        raise _ObjectArray(f"the array {name} holds Python objects") from None


def _begins_as_zip(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(2) == b"PK"


def load_npy(path: Path) -> np.ndarray:
    """The array of an .npy file. Raises DataError where it cannot be read."""
    try:
        with open_regular(path):  # a pipe would be read forever
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive")
        return np.asarray(array)
    except Exception as error:  # a damaged file raises nearly anything
        if "Python objects in dtype" in str(error) or "Object arrays" in str(error):
            raise DataError(
                f"{path} cannot be read as .npy (it holds Python objects); {_AS_TEXT}"
            ) from None
        raise DataError(
            f"{path} cannot be read as .npy ({_describe(error)}); save it with numpy.save"
        ) from None


def read_idx(path: Path) -> np.ndarray:
    """The values uint8 of an IDX file, plain or compressed by gzip.

    They follow two zero bytes, the type, the number of dimensions, and each size as four bytes with
    the highest first. Raises DataError for a damaged file and other types.
    """
    try:
        with open_regular(path) as file:
            source = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            data = source.read(_MAX_IDX_BYTES + 1)
        if len(data) > _MAX_IDX_BYTES:
            raise ValueError(f"it has more than {_MAX_IDX_BYTES} bytes")
        if len(data) < _LEAST_IDX_BYTES:
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


def _describe(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


class GrowthError(ValueError):
    """A pickle that would take far more time or memory than it has bytes."""


def check_growth(data: bytes) -> None:
    """Raise GrowthError for a pickle that would take far more time or memory than it has bytes."""
    tuples: Set[int] = set()
    memoized, made, shared, before = 0, 0, 0, ""
    for opcode, argument, _ in pickletools.genops(data):
        made += opcode.name.startswith("TUPLE")
        if opcode.name == "MEMOIZE" or opcode.name.endswith("PUT"):
            index = memoized if argument is None else int(argument)
            if index > len(data):
                raise GrowthError(f"it numbers a value {index}")
            memoized += 1
            if before.startswith("TUPLE"):
                tuples.add(index)
        elif opcode.name == "DUP" or (opcode.name.endswith("GET") and int(argument or 0) in tuples):
            shared += 1
        before = opcode.name
    if made > _MAX_TUPLES:
        raise GrowthError(f"it makes {made} tuples")
    if shared > _MAX_SHARED_TUPLES:
        raise GrowthError(f"it shares tuples {shared} times")
