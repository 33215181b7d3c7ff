"""Times matrix products by the BLAS that OneFlow calls, at the shapes that OneFlow calls it with.

Needs nothing of the suite: the doctor runs it in the interpreter that it examines, which may be
Python 3.7. A process must have imported OneFlow, or have another BLAS preloaded.

A shape is [transposed_left, transposed_right, adds, rows, columns, inner]: a product of float32
matrices by rows, (rows, inner) times (inner, columns). With `adds` it is added to what the result
holds. A product is repeated on the same matrices, so small ones are in the cache.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from statistics import median
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

FUNCTION = "cblas_sgemm"
LIBRARY = "liboneflow"  # which holds OneFlow's own BLAS
FLOAT_BYTES = 4
FILLING = 0x3F  # each byte of the matrices: a float of 0.75, as zeros could be multiplied faster
REPEATS_S, FEWEST_REPEATS, MOST_REPEATS = 0.02, 3, 200
ROW_MAJOR, NOT_TRANSPOSED, TRANSPOSED = 101, 111, 112  # of the C interface to the BLAS
# yields as OneFlow's scheduler does while work is pending, until the process that wants it has gone
_SPINNING = (
    "import os\nwhile os.getppid() == {parent}:\n    for _ in range(500):\n        os.sched_yield()"
)


def find_product() -> Any:
    """The function that answers OneFlow's calls. Raises RuntimeError if there is none."""
    process = ctypes.CDLL(None)
    if hasattr(process, FUNCTION):
        return getattr(process, FUNCTION)
    with open("/proc/self/maps") as maps:
        places = [line.split(None, 5)[5].strip() for line in maps if LIBRARY in line]
    library = ctypes.CDLL(places[0]) if places else None
    if not hasattr(library, FUNCTION):
        raise RuntimeError("no library of this process has " + FUNCTION)
    return getattr(library, FUNCTION)


@contextmanager
def spin_beside() -> Iterator[None]:
    """Let another process spin, since OneFlow's scheduler does so on a second core in a step."""
    program = _SPINNING.format(parent=os.getpid())
    other = subprocess.Popen([sys.executable, "-S", "-c", program], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        other.kill()
        other.wait()


def time_products(
    shapes: Sequence[Sequence[int]], clock: Callable[[], float] = time.perf_counter
) -> List[float]:
    """Median seconds of one product of each shape. Equal shapes are timed once.

    `time.thread_time` leaves out other load, and suits a BLAS that uses one thread.
    """
    product = find_product()
    known: Dict[Tuple[int, ...], float] = {}
    with spin_beside():
        for shape in map(tuple, shapes):
            if shape not in known:
                known[shape] = time_product(product, shape, clock)
    return [known[tuple(shape)] for shape in shapes]


def time_product(product: Any, shape: Sequence[int], clock: Callable[[], float]) -> float:
    """As `time_products`; the cost of a call that multiplies nothing is subtracted."""
    left, right, adds, rows, columns, inner = shape
    matrices = [create_matrix(size) for size in (rows * inner, inner * columns, rows * columns)]
    kinds = [ctypes.c_int(TRANSPOSED if flag else NOT_TRANSPOSED) for flag in (left, right)]
    lengths = [rows if left else inner, inner if right else columns, columns]
    first, second, result = (
        (ctypes.byref(matrix), ctypes.c_int(length)) for matrix, length in zip(matrices, lengths)
    )

    def create_call(count: int) -> Callable[[], Any]:
        sizes = [ctypes.c_int(size) for size in (count, columns, inner)]
        one, start = ctypes.c_float(1.0), ctypes.c_float(1.0 if adds else 0.0)
        arguments = [ctypes.c_int(ROW_MAJOR), *kinds, *sizes, one, *first, *second, start, *result]
        return lambda: product(*arguments)

    return max(0.0, _repeat(create_call(rows), clock) - _repeat(create_call(0), clock))


def create_matrix(elements: int) -> Any:
    """Filled, since the pages of a fresh one would all be the same page of zeros."""
    matrix = (ctypes.c_float * elements)()
    ctypes.memset(matrix, FILLING, FLOAT_BYTES * elements)
    return matrix


def _repeat(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    call()
    durations: List[float] = []
    begin = clock()
    while len(durations) < FEWEST_REPEATS or (
        len(durations) < MOST_REPEATS and clock() - begin < REPEATS_S
    ):
        start = clock()
        call()
        durations.append(clock() - start)
    return median(durations)
