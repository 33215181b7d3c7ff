"""Products timed by a made-up BLAS and clock."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from oneflow_bench.bench.worker import product_times
from oneflow_bench.bench.worker.product_times import spin_beside, time_product, time_products


class MadeUpBlas:
    """A call costs 1 s, and 2 s more if it multiplies."""

    def __init__(self):
        self.now_s, self.calls = 0.0, []

    def clock(self):
        return self.now_s

    def __call__(self, order, left, right, rows, columns, inner, *rest):
        self.calls.append([left.value, right.value, rows.value, columns.value, inner.value])
        _, _, first_length, _, second_length, start, _, length = rest
        self.lengths = [one.value for one in (first_length, second_length, length)]
        self.start = start.value
        self.now_s += 3.0 if rows.value else 1.0


def test_the_cost_of_a_call_is_subtracted():
    blas = MadeUpBlas()
    assert time_product(blas, [0, 0, 0, 2, 3, 4], blas.clock) == 2.0
    assert [111, 111, 2, 3, 4] in blas.calls and [111, 111, 0, 3, 4] in blas.calls


@pytest.mark.parametrize(
    "flags, lengths", [([0, 0, 0], [4, 3, 3]), ([1, 0, 0], [2, 3, 3]), ([0, 1, 1], [4, 4, 3])]
)
def test_matrices_lie_by_rows_without_gaps(flags, lengths):
    blas = MadeUpBlas()
    time_product(blas, [*flags, 2, 3, 4], blas.clock)
    assert blas.lengths == lengths and blas.start == flags[2]


def test_equal_shapes_are_timed_once(monkeypatch):
    asked = []

    def time_one(product, shape, clock):
        asked.append(shape)
        return float(len(asked))

    monkeypatch.setattr(product_times, "find_product", lambda: None)
    monkeypatch.setattr(product_times, "time_product", time_one)
    first, second = [0, 0, 0, 2, 3, 4], [1, 0, 0, 2, 3, 4]
    assert time_products([first, second, first]) == [1.0, 2.0, 1.0]


def test_the_process_beside_ends_with_the_measurement(monkeypatch):
    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(product_times.subprocess, "Popen", Recorded)
    with spin_beside():
        assert started[0].poll() is None
    assert started[0].returncode is not None


def test_the_process_beside_ends_when_its_parent_has_gone():
    program = product_times._SPINNING.format(parent=os.getpid() + 1)
    begin = time.monotonic()
    assert subprocess.run([product_times.sys.executable, "-S", "-c", program]).returncode == 0
    assert time.monotonic() - begin < 60


def test_a_process_without_a_blas_says_so(monkeypatch):
    monkeypatch.setattr(product_times.ctypes, "CDLL", lambda path: object())
    with pytest.raises(RuntimeError, match="no library of this process has cblas_sgemm"):
        product_times.find_product()
