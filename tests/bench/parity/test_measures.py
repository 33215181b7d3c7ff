"""Distances between tensors, on values with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from oneflow_bench.bench.parity.measures import (
    cosine,
    find_largest,
    max_ulp_distance,
    rms,
    rms_difference,
)


def test_rms_is_exact_where_squares_would_under_or_overflow():
    assert rms(np.array([3.0, 4.0])) == pytest.approx(np.sqrt(12.5), rel=1e-15)
    assert rms(np.full(7, 1e-200)) == pytest.approx(1e-200, rel=1e-15)
    assert rms(np.full(7, 1e200)) == pytest.approx(1e200, rel=1e-15)
    assert rms(np.zeros(3)) == 0.0 and rms(np.zeros(0)) == 0.0
    assert rms(np.array([1.0, np.inf])) == np.inf
    assert np.isnan(rms(np.array([1.0, np.nan])))


def test_a_difference_is_taken_in_float64():
    left = np.array([1.0], dtype=np.float32)
    assert rms_difference(left, np.array([1.0 + 1e-12])) == pytest.approx(1e-12, rel=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ulp_distance_counts_representable_values(dtype):
    one = np.ones(3, dtype=dtype)
    moved = one.copy()
    moved[1] = np.nextafter(np.nextafter(dtype(1), dtype(2)), dtype(2))
    assert max_ulp_distance(one, one) == 0
    assert max_ulp_distance(one, moved) == 2 == max_ulp_distance(moved, one)
    tiny = np.nextafter(dtype(0), dtype(1))
    assert max_ulp_distance(np.array([-tiny]), np.array([tiny])) == 2
    assert max_ulp_distance(np.array([dtype(-0.0)]), np.array([dtype(0.0)])) == 0
    huge = np.array([np.finfo(dtype).max])
    span = 2 * (2 * 2**30 - 2**23) if dtype is np.float32 else 2 * (2 * 2**62 - 2**52)
    assert max_ulp_distance(-huge, huge) == span - 2


def test_ulp_distance_is_silent_where_it_has_no_meaning():
    one = np.ones(2, dtype=np.float32)
    assert max_ulp_distance(one, np.array([1.0, np.nan], np.float32)) is None
    assert max_ulp_distance(one, one.astype(np.float64)) is None
    assert max_ulp_distance(np.ones(2, np.int64), np.ones(2, np.int64)) is None
    assert max_ulp_distance(one[:0], one[:0]) is None


def test_cosine():
    assert cosine(np.array([1.0, 0.0]), np.array([0.0, 2.0])) == 0.0
    assert cosine(np.array([1e200, 1e200]), np.array([-1e-200, -1e-200])) == pytest.approx(-1.0)
    assert cosine(np.zeros(2), np.ones(2)) is None
    assert cosine(np.array([np.inf, 1.0]), np.ones(2)) is None


def test_the_largest_difference_and_where_it_is():
    left = np.zeros((2, 3), np.float32)
    right = left.copy()
    right[1, 2] = -0.5
    assert find_largest(left, right) == (1, 2)
    right[0, 1] = np.nan
    assert find_largest(left, right) == (0, 1)
    assert find_largest(np.array(1.0), np.array(3.0)) == ()
