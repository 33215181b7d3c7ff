"""A bounded digest of any Python value, so that a change of its state shows.

The digest follows whatever `pickle` follows. Tensors, modules, functions and classes count as
constants. So does everything that cannot be pickled, apart from a generator's variables.
"""

from __future__ import annotations

import io
import pickle
import types
import zlib
from typing import Any, Optional

import numpy as np
import oneflow as flow
from oneflow import nn

MOST_BYTES = 2**20  # of the pickled parts; an array counts as a few

CONSTANT = (flow.Tensor, nn.Module, type, types.ModuleType, types.FunctionType)


def digest_state(value: Any) -> Optional[str]:
    """Eight hexadecimal digits; None for a constant, and for a value above `MOST_BYTES`."""
    if isinstance(value, CONSTANT):
        return None
    checksum = _Checksum()
    try:
        _Pickler(checksum, protocol=4).dump(value)
    except Exception:  # of a value's own code, or of too much
        return None
    return f"{checksum.value:08x}"


class _Checksum(io.RawIOBase):
    """A file that keeps a checksum of what is written to it."""

    value = size = 0

    def write(self, data: Any) -> int:
        self.value = zlib.crc32(data, self.value)
        self.size += len(data)
        if self.size > MOST_BYTES:
            raise OverflowError("the value is too large")
        return len(data)


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        """Stands in for a value; None to pickle that itself."""
        if isinstance(value, CONSTANT):
            return type(value).__name__
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return value.shape, value.dtype.str, zlib.crc32(np.ascontiguousarray(value))
        if isinstance(value, types.GeneratorType):
            frame = value.gi_frame
            return (frame.f_lasti, frame.f_locals) if frame else ("ended",)
        return None

    def reducer_override(self, value: Any) -> Any:
        """As pickle does by itself, but a value that refuses is a constant."""
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:
            return str, (type(value).__qualname__,)
        return reduced if isinstance(reduced, tuple) else (str, (reduced,))
