"""Distances between two tensors, in units that mean something. NumPy only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import List, Optional

import numpy as np


def rms(values: np.ndarray) -> float:
    """Root mean square in float64; 0 for no elements, nan or inf where one is in it."""
    if values.size == 0:
        return 0.0
    wide = values.astype(np.float64, copy=False)
    scale = float(np.abs(wide).max())
    if scale == 0 or not math.isfinite(scale):
        return scale
    return scale * float(
        np.sqrt(np.mean((wide / scale) ** 2))
    )  # squares neither under nor overflow


def rms_difference(left: np.ndarray, right: np.ndarray) -> float:
    """RMS of left - right, in float64."""
    return rms(left.astype(np.float64, copy=False) - right.astype(np.float64, copy=False))


def max_ulp_distance(left: np.ndarray, right: np.ndarray) -> Optional[int]:
    """Largest number of representable values between two float32 or float64 arrays.

    The bit patterns are mapped to integers that are ordered as the numbers are, so the distance
    crosses zero correctly. None for other types, or where a value is not a number.
    """
    if left.dtype != right.dtype or left.dtype not in (np.float32, np.float64) or left.size == 0:
        return None
    if np.isnan(left).any() or np.isnan(right).any():
        return None
    # as unsigned: a float64's distance may pass the largest signed integer
    a, b = _ordered(left), _ordered(right)
    return int(np.where(a > b, a - b, b - a).max())


def _ordered(values: np.ndarray) -> np.ndarray:
    wide = values.dtype == np.float64
    bits = np.ascontiguousarray(values).view(np.uint64 if wide else np.uint32).astype(np.uint64)
    sign = np.uint64(1 << (63 if wide else 31))
    ordered: np.ndarray = np.where(bits & sign, sign - (bits & (sign - np.uint64(1))), sign + bits)
    return ordered


def cosine(left: np.ndarray, right: np.ndarray) -> Optional[float]:
    """Cosine of the angle between two tensors; None where one is zero or not finite."""
    scales = rms(left), rms(right)
    if not all(0 < scale < math.inf for scale in scales):
        return None
    a = left.astype(np.float64).ravel() / scales[0]
    b = right.astype(np.float64).ravel() / scales[1]
    return float(np.dot(a, b)) / left.size


@dataclass(frozen=True)
class Largest:
    """The largest difference and where it is."""

    index: List[int]
    difference: float
    left: float
    right: float


def find_largest(left: np.ndarray, right: np.ndarray) -> Largest:
    """The element with the largest |right - left|; one that is not a number counts as largest."""
    difference = np.abs(right.astype(np.float64) - left.astype(np.float64))
    flat = int(np.nanargmax(np.where(np.isnan(difference), np.inf, difference)))
    index = [int(i) for i in np.unravel_index(flat, left.shape)]
    return Largest(
        index, float(difference.flat[flat]), float(left.flat[flat]), float(right.flat[flat])
    )
