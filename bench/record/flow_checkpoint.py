"""The folders that `oneflow.load` opens, without OneFlow and without executing them.

There are two kinds. The plain one has a folder of each tensor's name and an empty file
`snapshot_done`. It is the one that is written here, since nothing in it can run. `oneflow.save`
writes `pickled_data`, a pickle of nested containers whose tensors are stubs that name a folder each
(`{"path": "tensor_3"}`). The folder of a tensor has `meta` (shape and type as protobuf text) and
`out` (the bytes).

A pickle can name any function of any module to be called when it is loaded; here only an ordered
dictionary and OneFlow's own tensor classes may be named. A small one can also unfold to a huge
value or name a pipe as a tensor, so sizes are bounded.
"""

from __future__ import annotations

import collections
import io
import math
import pickle
import re
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

import numpy as np

from ...data.files import read_regular
from ...data.sources.stored import check_growth
from ..errors import InputError

PICKLE_NAME = "pickled_data"
PLAIN_NAME = "snapshot_done"
PROTOCOL_VERSION = 1
MAX_BYTES = 1 << 34  # of one tensor
_MAX_PICKLE_BYTES, _MAX_META_BYTES = 1 << 24, 1 << 16
_BFLOAT16 = "kBFloat16"
_TYPES = {
    "kFloat": np.float32,
    "kDouble": np.float64,
    "kFloat16": np.float16,
    "kInt8": np.int8,
    "kInt32": np.int32,
    "kInt64": np.int64,
    "kUInt8": np.uint8,
    "kBool": np.bool_,
    _BFLOAT16: np.uint16,
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


def is_flow_folder(folder: Path) -> bool:
    """Whether it is of either kind."""
    return any((folder / name).is_file() for name in (PICKLE_NAME, PLAIN_NAME))


def write_flow_folder(state: Mapping[str, np.ndarray], folder: Path) -> None:
    """Fill an empty folder with a state dict of the plain kind, which `oneflow.load` opens.

    Raises InputError for a name that is no name of a folder, or a type that OneFlow does not have.
    """
    kinds = {np.dtype(kind): name for name, kind in _TYPES.items() if name != _BFLOAT16}
    for name, value in state.items():
        if Path(name).name != name or name in (PLAIN_NAME, PICKLE_NAME):
            raise InputError(f"the tensor {name!r} has no name of a folder; rename it")
        if value.dtype not in kinds:
            raise InputError(f"the tensor {name} is {value.dtype}, which OneFlow does not have")
        dimensions = "".join(f"  dim: {size}\n" for size in value.shape)
        (folder / name).mkdir()
        meta = f"shape {{\n{dimensions}}}\ndata_type: {kinds[value.dtype]}\n"
        (folder / name / "meta").write_text(meta, encoding="utf-8")
        (folder / name / "out").write_bytes(value.tobytes())
    (folder / PLAIN_NAME).touch()


def read_flow_folder(folder: Path) -> Any:
    """What was given to `oneflow.save`, with NumPy arrays in the place of tensors.

    Of the plain kind a dict of arrays. Raises InputError for a folder that is none of OneFlow's,
    is damaged, or would execute anything.
    """
    path = folder / PICKLE_NAME
    if not path.exists() and (folder / PLAIN_NAME).is_file():
        names = sorted(one.name for one in folder.iterdir() if one.name != PLAIN_NAME)
        return {name: _read_tensor(folder, name) for name in names}
    try:
        data = read_regular(path, _MAX_PICKLE_BYTES)
        check_growth(data)
        stored = _Unpickler(io.BytesIO(data)).load()
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
    try:
        return _fill(stored["data"], folder, {})
    except RecursionError:
        raise InputError(f"{path} is nested too deeply; save model.state_dict() alone") from None


_UNFINISHED = object()


def _fill(value: Any, folder: Path, done: Dict[Any, Any]) -> Any:
    """The value with arrays for stubs. What is shared is made once; `done` has it by identity."""
    if not isinstance(value, (_Stub, dict, list, tuple)):
        return value
    key = value.path if isinstance(value, _Stub) else id(value)
    if key not in done:
        done[key] = _UNFINISHED
        if isinstance(value, _Stub):
            done[key] = _read_tensor(folder, value.path)
        elif isinstance(value, dict):
            done[key] = {name: _fill(item, folder, done) for name, item in value.items()}
        else:
            done[key] = [_fill(item, folder, done) for item in value]
    if done[key] is _UNFINISHED:
        raise InputError(
            f"{folder / PICKLE_NAME} holds a value that holds itself; save a plain one"
        )
    return done[key]


def _read_tensor(folder: Path, name: str) -> np.ndarray:
    if Path(name).name != name or name == "..":
        raise InputError(
            f"{folder} names a tensor outside itself ({name}); it is not to be trusted"
        )
    try:
        meta = read_regular(folder / name / "meta", _MAX_META_BYTES).decode("utf-8")
        shape, kind = _read_meta(meta)
        wanted = math.prod(shape) * np.dtype(kind).itemsize
        if wanted > MAX_BYTES:
            raise ValueError(f"it would have {wanted} bytes and at most {MAX_BYTES} are read")
        values = np.frombuffer(read_regular(folder / name / "out", wanted), dtype=kind)
        values = values.reshape(shape)
        return widen_bfloat16(values) if _BFLOAT16 in meta else values.copy()
    except (OSError, ValueError, KeyError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise InputError(
            f"the tensor {folder / name} cannot be read ({reason}); "
            "save the checkpoint again, into a new folder"
        ) from None


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """float32 of bfloat16, given as uint16: bfloat16 is the upper half of float32. Exact."""
    wide = np.left_shift(bits.astype(np.uint32), 16)
    return np.asarray(wide).view(np.float32)


def _read_meta(text: str) -> Tuple[Tuple[int, ...], Any]:
    shape = tuple(int(size) for size in re.findall(r"\bdim:\s*(\d+)", text))
    found = re.search(r"data_type:\s*(\w+)", text)
    types: Dict[str, Any] = _TYPES
    if not found:
        raise ValueError("no data_type")
    return shape, types[found.group(1)]
