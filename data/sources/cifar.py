"""CIFAR-10 and CIFAR-100, the binary and the Python version.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. A picture is 3,072
bytes: the rows of red, then those of green and of blue, 32 pixels each.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from ..errors import DataError
from ..files import read_regular
from . import Choices, Labelled, Source, as_text, list_names
from .stored import GrowthError, check_growth

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_MAX_BYTES = 1 << 28
_BATCHES = [f"data_batch_{number}" for number in range(1, 6)]

Batch = Tuple[np.ndarray, np.ndarray]  # pixels uint8 (N, 3072), labels (N,)


class _Version(NamedTuple):
    """The files of one version, and where it has its labels and the names of its classes."""

    kind: str
    train: Sequence[str]
    test: str
    names: str
    classes: int
    label_bytes: int = 0  # before a picture of a binary file; its label is the last of them
    labels_key: str = ""  # in a pickle, as `names_key`
    names_key: str = ""


_VERSIONS = (
    _Version("CIFAR-10, the binary version", [f"{name}.bin" for name in _BATCHES],
             "test_batch.bin", "batches.meta.txt", 10, 1),
    _Version("CIFAR-100, the binary version", ["train.bin"],
             "test.bin", "fine_label_names.txt", 100, 2),
    _Version("CIFAR-10, the Python version", _BATCHES, "test_batch", "batches.meta", 10,
             0, "labels", "label_names"),
    _Version("CIFAR-100, the Python version", ["train"], "test", "meta", 100,
             0, "fine_labels", "fine_label_names"),
)  # fmt: skip


def is_cifar(path: Path) -> bool:
    return _find_version(path) is not None


def _find_version(folder: Path) -> Any:
    """The version whose test file is there, with one file of its training at least."""
    names = {name for name in list_names(folder) if (folder / name).is_file()}
    found = (v for v in _VERSIONS if v.test in names and not names.isdisjoint(v.train))
    return next(found, None)


def read_cifar(folder: Path, choices: Choices) -> Source:
    """All its pictures; the test batch is the validation split. CIFAR-100 has its fine labels.

    Raises DataError for a folder without them, and for a missing or damaged file.
    """
    version = _find_version(folder)
    if version is None:
        raise DataError(
            f"{folder} is no CIFAR-10 or CIFAR-100; give the folder with data_batch_1.bin, "
            "data_batch_1, train.bin or train beside the test batch"
        )
    is_binary = version.label_bytes > 0
    read: Callable[[Path, _Version], Batch] = read_binary if is_binary else read_pickled
    splits = {
        name: _label_all([read(folder / file, version) for file in files], version, folder)
        for name, files in (("train", version.train), ("val", [version.test]))
    }
    return Source(version.kind, _read_names(folder, version), splits)


def _label_all(batches: List[Batch], version: _Version, folder: Path) -> List[Labelled]:
    pictures: List[Labelled] = []
    for pixels, labels in batches:
        if len(labels) and not 0 <= labels.min() <= labels.max() < version.classes:
            raise DataError(
                f"{folder} has labels from {labels.min()} to {labels.max()} and {version.classes} "
                "classes; download it again"
            )
        images = pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
        pictures += map(Labelled, images, labels.tolist())
    return pictures


def _read_bytes(path: Path) -> bytes:
    try:
        return read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); download CIFAR again") from None


def read_binary(path: Path, version: _Version = _VERSIONS[0]) -> Batch:
    """A file of the binary version. Raises DataError for one that is cut."""
    data, size = _read_bytes(path), version.label_bytes + _PIXELS
    if not data or len(data) % size:
        raise DataError(
            f"{path} has {len(data)} bytes, and pictures of {size} bytes each are expected; "
            "download CIFAR again"
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, size)
    return rows[:, version.label_bytes :], rows[:, version.label_bytes - 1].astype(np.int64)


def read_pickled(path: Path, version: _Version = _VERSIONS[2]) -> Batch:
    """A file of the Python version. Raises DataError for one that is damaged or would execute."""
    stored = read_pickle(path)
    pixels: Any = stored.get("data")
    labels: Any = stored.get(version.labels_key)
    is_whole = (
        isinstance(pixels, np.ndarray)
        and pixels.dtype == np.uint8
        and pixels.ndim == 2
        and pixels.shape[1] == _PIXELS
        and isinstance(labels, list)
        and len(labels) == len(pixels) > 0
        and all(isinstance(label, int) and abs(label) < 1 << 31 for label in labels)
    )
    if not is_whole:
        raise DataError(
            f"{path} does not hold a list of {version.labels_key} and {_PIXELS} bytes of type "
            "uint8 for each; download CIFAR again, or import the arrays as .npz instead"
        )
    return pixels, np.array(labels, np.int64)


def _read_names(folder: Path, version: _Version) -> List[str]:
    if version.names_key:
        stored = read_pickle(folder / version.names).get(version.names_key)
        names = [as_text(name) for name in stored] if isinstance(stored, list) else []
    else:
        text = _read_bytes(folder / version.names).decode("utf-8", "replace")
        names = [line.strip() for line in text.splitlines() if line.strip()]
    if len(names) != version.classes:
        raise DataError(
            f"{folder / version.names} has {len(names)} names of classes where {version.classes} "
            "are expected; download CIFAR again"
        )
    return names


class _Array:
    """Stands for `numpy.ndarray` in a pickle; nothing of NumPy is called by its words."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, raw = state
        kind = np.dtype({"u1": np.uint8, "i4": np.int32, "i8": np.int64}[dtype.code])
        if is_fortran or dtype.order == ">" or math.prod(shape) * kind.itemsize != len(raw):
            raise pickle.UnpicklingError("an array of an unknown layout")
        self.values = np.frombuffer(raw, kind).reshape(shape)


class _Dtype:
    """Stands for `numpy.dtype`."""

    order = ""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = as_text(code)

    def __setstate__(self, state: Any) -> None:
        self.order = as_text(state[1])


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Bytes in pickles that Python 3 wrote for Python 2."""
    return text.encode("latin1")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Refused(Exception):
    """The pickle names something that would be executed."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise _Refused(f"{module}.{name}")
        return _KNOWN[module, name]


def read_pickle(path: Path) -> Dict[str, Any]:
    """The dictionary that a pickle holds, with arrays of numbers and plain containers alone.

    Raises DataError for a damaged pickle and for one that names anything else, which is not called.
    """
    data = _read_bytes(path)
    try:
        check_growth(data)
        stored = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        return {
            as_text(key): value.values if isinstance(value, _Array) else value
            for key, value in stored.items()
        }
    except _Refused as error:
        if str(error).startswith("numpy."):
            raise _not_as_published(path) from None
        raise DataError(
            f"{path} would execute {error} when loaded, which nothing of CIFAR does; nothing was "
            "executed, so download it again"
        ) from None
    except GrowthError as error:
        raise DataError(f"{path} is no whole pickle ({error}); download CIFAR again") from None
    except Exception:  # a damaged pickle raises nearly anything
        raise _not_as_published(path) from None


def _not_as_published(path: Path) -> DataError:
    return DataError(
        f"{path} is no file of CIFAR as published; download CIFAR again, or import the arrays as "
        ".npz instead"
    )
