"""Measures of a tensor and of the errors in it: norms, distances, groups of one magnitude.

They are computed in float64 and vectorised, for tensors of up to some 100 million elements.
"""

from __future__ import annotations

import math
from typing import List, Optional, Sequence, Tuple

import numpy as np

_SAFE = 1e-280  # below it, and above its inverse, squares lose digits
WIDTH, GAP, LEAST = 8, 10, 16  # of groups: powers of two, powers of two, elements


def rms(values: np.ndarray) -> float:
    """Root mean square in float64; 0 for no elements, nan or inf if it holds one."""
    if values.size == 0:
        return 0.0
    wide = values.astype(np.float64, copy=False).ravel()
    total = float(np.dot(wide, wide))
    if _SAFE < total < 1 / _SAFE:
        return math.sqrt(total / wide.size)
    scale = largest(wide)
    if scale == 0 or not math.isfinite(scale):
        return scale
    # scaled, so that squares neither underflow nor overflow
    return scale * float(np.sqrt(np.mean((wide / scale) ** 2)))


def rms_difference(left: np.ndarray, right: np.ndarray) -> float:
    """RMS of left - right, in float64."""
    return rms(subtract(left, right))


def max_ulp_distance(left: np.ndarray, right: np.ndarray) -> Optional[int]:
    """Largest number of representable values between two float32 or float64 arrays.

    The bit patterns are mapped to integers that are ordered as the numbers are, so the distance
    crosses zero correctly. None for other types, or if a value is not a number.
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
    """Cosine of the angle between two tensors; None if one is zero or not finite."""
    scales = rms(left), rms(right)
    if not all(0 < scale < math.inf for scale in scales):
        return None
    a = left.astype(np.float64).ravel() / scales[0]
    b = right.astype(np.float64).ravel() / scales[1]
    return float(np.dot(a, b)) / left.size


def find_largest(left: np.ndarray, right: np.ndarray) -> Tuple[int, ...]:
    """Index of the largest |right - left|; one that is not a number counts as largest."""
    difference = np.abs(right.astype(np.float64) - left.astype(np.float64))
    flat = np.where(np.isnan(difference), np.inf, difference).argmax()
    return tuple(int(i) for i in np.unravel_index(flat, left.shape))


def subtract(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left - right in float64, without wide copies of both."""
    difference: np.ndarray = np.subtract(left, right, dtype=np.float64)
    return difference


def largest(values: np.ndarray) -> float:
    """The largest |value|."""
    return max(abs(float(values.max())), abs(float(values.min())))


def count_effective(values: np.ndarray) -> float:
    """(sum v^2)^2 / sum v^4: how many equal elements would scatter as much; n / 3 if normal."""
    squares = np.square(values, dtype=np.float64)
    fourth = float(np.dot(squares, squares))
    return float(squares.sum()) ** 2 / fourth if 0 < fourth < math.inf else float(values.size)


def norm_quantile(moves: Sequence[np.ndarray], chance: float) -> float:
    """sqrt(F): how far chance parts two norms of elements that scatter as these do."""
    from scipy.special import fdtri

    count = min(map(count_effective, moves))
    return math.sqrt(fdtri(count, count * len(moves), 1 - chance))


def chance_correlation(values: np.ndarray, chance: float) -> float:
    """Square of the correlation that noise has with these values at a probability of `chance`.

    Infinite for too few effective values to tell.
    """
    from scipy.special import fdtri

    count = count_effective(values)
    if count < LEAST:
        return math.inf
    ratio = float(fdtri(1, count - 1, 1 - chance))
    return ratio / (ratio + count - 1)


def regress(values: np.ndarray, on: np.ndarray) -> Tuple[float, float]:
    """(coefficient, part of the square that it explains), without an intercept; 0 if one is 0."""
    wide = on.astype(np.float64, copy=False)
    own, square, product = np.dot(values, values), np.dot(wide, wide), np.dot(values, wide)
    if not 0 < own * square < math.inf:
        return 0.0, 0.0
    return float(product / square), float(product**2 / (own * square))


def list_groups(exact: np.ndarray) -> List[np.ndarray]:
    """Masks of the elements of one magnitude each, the largest first; zeros are in the last.

    A group spans WIDTH powers of two and has LEAST elements. Smaller ones join the next larger
    group, since elements that cancel are as wrong as those. Only a GAP parts a group of any size.
    """
    exponents = np.maximum(np.frexp(exact.ravel())[1], np.finfo(np.float32).minexp)
    nonzero = exact.ravel() != 0
    if not nonzero.any():
        return []
    lowest = int(exponents[nonzero].min())
    exponents[~nonzero] = lowest
    counts = np.bincount(exponents - lowest)
    groups: List[List[int]] = []
    for here in map(int, np.flatnonzero(counts)[::-1]):
        last = groups[-1] if groups else []
        gap = not last or last[-1] - here >= GAP
        if gap or (last[0] - here >= WIDTH and counts[last].sum() >= LEAST):
            groups.append([])
        groups[-1].append(here)
    joined = groups[:1]
    for group in groups[1:]:
        if counts[group].sum() < LEAST and joined[-1][-1] - group[0] < GAP:
            joined[-1] += group
        else:
            joined.append(group)
    exponents -= lowest
    return [(exponents >= group[-1]) & (exponents <= group[0]) for group in joined]
