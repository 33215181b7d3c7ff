"""Measures the machine's ceilings in worker processes: one core, then all that may be used."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

from ...config import Contender
from .document import COPY, MATMUL, Ceiling

MATMUL_SIZES = (1024, 2048)
MEMORY_BYTES = 256 * 2**20  # beyond the caches of today's processors
SMALLEST_BUFFER_BYTES = 64 * 2**10

Observer = Callable[[str, int, int], None]
Launch = Callable[[Contender], Any]


def choose_buffers(step_bytes: int) -> List[int]:
    """Sizes of the buffers to copy, in bytes: memory's, and that of what a step moves if smaller.

    What a small model moves stays in the caches; memory is no limit to it.
    """
    own = max(SMALLEST_BUFFER_BYTES, step_bytes)
    return [MEMORY_BYTES] if own >= MEMORY_BYTES else [own, MEMORY_BYTES]


def limit_threads(threads: int) -> Dict[str, str]:
    """Variables that keep every BLAS to so many threads; set before it is loaded."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {name: str(threads) for name in names}


def measure_ceilings(
    launch: Launch,
    runtime: str,
    cores: int,
    step_bytes: int,
    timeout_s: float,
    observe: Observer,
) -> List[Ceiling]:
    """Products by NumPy's BLAS and OneFlow's in `runtime`, and copies; worker errors pass through.

    NumPy's run in a process of its own without the runtime's variables: a kernel that is forced on
    OneFlow's BLAS would be forced on NumPy's too.
    """
    counts = sorted({1, cores})
    found: List[Ceiling] = []
    for number, threads in enumerate(counts):
        observe("ceilings", 2 * number, 2 * len(counts))
        answer = _ask(
            launch,
            Contender(
                name=f"ceilings-numpy-{threads}",
                mode="eager",
                runtime="stock",
                env=limit_threads(threads),
            ),
            timeout_s,
            "measure_numpy",
            threads=threads,
            sizes=MATMUL_SIZES,
            buffer_bytes=choose_buffers(step_bytes),
        )
        found += _read(answer, MATMUL, "numpy", threads) + _read(answer, COPY, "numpy", threads)
        observe("ceilings", 2 * number + 1, 2 * len(counts))
        answer = _ask(
            launch,
            Contender(
                name=f"ceilings-oneflow-{threads}",
                mode="eager",
                runtime=runtime,
                env=limit_threads(threads),
            ),
            timeout_s,
            "measure_oneflow",
            sizes=MATMUL_SIZES,
        )
        found += _read(answer, MATMUL, "oneflow", threads)
    return found


def _read(answer: Dict[str, Any], what: str, library: str, threads: int) -> List[Ceiling]:
    return [
        Ceiling(what=what, library=library, threads=threads, size=size, rates=rates)
        for size, rates in answer[what]
    ]


def _ask(
    launch: Launch, contender: Contender, timeout_s: float, call: str, **arguments: Any
) -> Dict[str, Any]:
    worker = launch(contender)
    try:
        answer: Dict[str, Any] = worker.ask(call, timeout_s, **arguments)
        worker.ask("end", timeout_s)
        return answer
    finally:
        worker.close()
