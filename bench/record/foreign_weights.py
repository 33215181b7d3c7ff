"""Weights that other programs saved: .npz files, and bfloat16 in safetensors."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Dict

import numpy as np
from safetensors import deserialize

from ..errors import InputError
from .flow_checkpoint import MAX_BYTES, widen_bfloat16

_SAFETENSORS_TYPES = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2", "I64": "i8", "I32": "i4", "I16": "i2",
    "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def read_bfloat16(path: Path) -> Dict[str, np.ndarray]:
    """The tensors of a safetensors file, bfloat16 as float32. Raises TypeError for other types."""
    state = {}
    for name, stored in deserialize(path.read_bytes()):
        kind = _SAFETENSORS_TYPES.get(stored["dtype"])
        if kind is None:
            raise TypeError(f"{name} has the type {stored['dtype']}, which is not read")
        values = np.frombuffer(stored["data"], kind)
        values = widen_bfloat16(values) if stored["dtype"] == "BF16" else values.copy()
        state[name] = values.reshape(stored["shape"])
    return state


def read_npz(path: Path) -> Dict[str, np.ndarray]:
    """The arrays of an .npz file, without pickles. Raises InputError where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise ValueError(f"it unpacks to {size} bytes and at most {MAX_BYTES} are read")
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # a damaged archive raises nearly anything
        raise InputError(
            f"{path} cannot be read as .npz ({error}); save it with numpy.savez, an array a tensor"
        ) from None
