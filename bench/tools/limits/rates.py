"""What the machine can do, measured: matrix products and copies, warmed up and repeated.

Without OneFlow, so that NumPy's BLAS is the only one in the process; OneFlow's product comes as a
function (see `worker.py`).
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, List

WARMUP_S, FEWEST_WARMUPS = 0.2, 2
MEASURED_S, FEWEST_REPEATS, MOST_REPEATS = 1.0, 5, 25
COPY_BLOCK_S = 0.02  # copies of a small buffer are timed together for about so long


def repeat_timed(
    run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter
) -> List[float]:
    """Seconds of each of some runs, after a warm-up.

    Warm-up lasts `WARMUP_S` seconds and two runs at least; then 5 to 25 runs, as many as take
    `MEASURED_S` seconds.
    """
    begin, runs = clock(), 0
    while runs < FEWEST_WARMUPS or clock() - begin < WARMUP_S:
        run()
        runs += 1
    durations: List[float] = []
    begin = clock()
    while len(durations) < FEWEST_REPEATS or (
        len(durations) < MOST_REPEATS and clock() - begin < MEASURED_S
    ):
        start = clock()
        run()
        durations.append(clock() - start)
    return durations


def matmul_flops(size: int) -> int:
    """Operations of a product of two (size, size) matrices: `size`^3 multiply-adds."""
    return 2 * size**3


def measure_numpy_matmul(size: int) -> List[float]:
    """Operations a second of a (size, size) float32 product by NumPy's BLAS, run by run."""
    import numpy as np

    source = np.random.RandomState(0)
    left, right = (source.standard_normal((size, size)).astype(np.float32) for _ in range(2))
    out = np.empty_like(left)
    durations = repeat_timed(lambda: np.matmul(left, right, out=out))
    return [matmul_flops(size) / duration for duration in durations]


def measure_copy(buffer_bytes: int, threads: int) -> List[float]:
    """Bytes a second of copying `buffer_bytes` by `threads` threads, a part each, run by run.

    A copied byte counts twice, read and written (McCalpin 1995, the STREAM benchmark).
    """
    import numpy as np

    length = max(1, buffer_bytes // threads)
    pairs = [(np.ones(length, np.uint8), np.zeros(length, np.uint8)) for _ in range(threads)]

    def copy(number: int, count: int) -> None:
        source, target = pairs[number]
        for _ in range(count):
            np.copyto(target, source)

    with ThreadPoolExecutor(threads) as pool:

        def run(count: int) -> None:
            for waiting in [pool.submit(copy, number, count) for number in range(threads)]:
                waiting.result()

        once = min(repeat_timed(lambda: run(1)))
        count = max(1, round(COPY_BLOCK_S / once))
        durations = repeat_timed(lambda: run(count))
    return [2 * length * threads * count / duration for duration in durations]
