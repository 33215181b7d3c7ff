"""Reads the folders that `oneflow.save` writes without OneFlow and without executing them.

Such a folder holds `pickled_data`, a pickle of nested containers whose tensors are stubs that name
a folder each (`{"path": "tensor_3"}`), and those folders with `meta` (shape and type as protobuf
text) and `out` (the bytes). A pickle can name any function of any module to be called when it is
loaded; here only an ordered dictionary and OneFlow's own tensor classes may be named.
"""

from __future__ import annotations

import collections
import pickle
import re
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np

from ..errors import InputError

PICKLE_NAME = "pickled_data"
PROTOCOL_VERSION = 1
_TYPES = {
    "kFloat": np.float32,
    "kDouble": np.float64,
    "kFloat16": np.float16,
    "kInt8": np.int8,
    "kInt32": np.int32,
    "kInt64": np.int64,
    "kUInt8": np.uint8,
    "kBool": np.bool_,
}
_TENSOR_CLASSES = {
    ("oneflow", "Tensor"),
    ("oneflow.nn", "Parameter"),
    ("oneflow._oneflow_internal", "Tensor"),
}


class _Stub:
    """What the pickle holds in a tensor's place."""

    path: str = ""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or not isinstance(state.get("path"), str):
            raise pickle.UnpicklingError("a tensor without a folder of its own")
        self.path = state["path"]


class _Refused(Exception):
    """The pickle names something that would be executed."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) in _TENSOR_CLASSES:
            return _Stub
        raise _Refused(f"{module}.{name}")


def read_flow_folder(folder: Path) -> Any:
    """What was given to `oneflow.save`, with NumPy arrays in the place of tensors.

    Raises InputError for a folder that is none of OneFlow's, is damaged, or would execute anything.
    """
    path = folder / PICKLE_NAME
    try:
        with open(path, "rb") as file:
            stored = _Unpickler(file).load()
    except OSError as error:
        raise InputError(
            f"{folder} is no checkpoint of oneflow.save ({PICKLE_NAME}: {error.strerror}); "
            "give that folder, or a .safetensors or .npz file"
        ) from None
    except _Refused as error:
        raise InputError(
            f"{folder} would execute {error} when loaded; nothing was executed. Say "
            "--trust-checkpoint if you trust whoever made it"
        ) from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise InputError(
            f"{path} is damaged ({type(error).__name__}: {error}); save the checkpoint again"
        ) from None
    known = isinstance(stored, dict) and stored.get("protocol_version") == PROTOCOL_VERSION
    if not known or "data" not in stored:
        raise InputError(
            f"{path} is not of the version of oneflow.save that is known here "
            f"({PROTOCOL_VERSION}); save it with OneFlow 0.8 or 0.9, or as .safetensors"
        )
    return _fill(stored["data"], folder)


def _fill(value: Any, folder: Path) -> Any:
    if isinstance(value, _Stub):
        return _read_tensor(folder, value.path)
    if isinstance(value, dict):
        return {key: _fill(item, folder) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_fill(item, folder) for item in value]
    return value


def _read_tensor(folder: Path, name: str) -> np.ndarray:
    if Path(name).name != name or name == "..":
        raise InputError(
            f"{folder} names a tensor outside itself ({name}); it is not to be trusted"
        )
    try:
        shape, kind = _read_meta((folder / name / "meta").read_text(encoding="utf-8"))
        data = (folder / name / "out").read_bytes()
        return np.frombuffer(data, dtype=kind).reshape(shape).copy()
    except (OSError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise InputError(
            f"the tensor {folder / name} cannot be read ({type(error).__name__}: {error}); "
            "save the checkpoint again, into a new folder"
        ) from None


def _read_meta(text: str) -> Tuple[Tuple[int, ...], Any]:
    shape = tuple(int(size) for size in re.findall(r"\bdim:\s*(\d+)", text))
    found = re.search(r"data_type:\s*(\w+)", text)
    types: Dict[str, Any] = _TYPES
    if not found:
        raise ValueError("no data_type")
    return shape, types[found.group(1)]
