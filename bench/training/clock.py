"""The clock: seconds between two full synchronisations, never anything less.

OneFlow runs asynchronously on the CPU too. `loss.numpy()` waits for that loss and not for the
backward pass and the update behind it; only `Sync` waits for everything.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Callable, List

import oneflow as flow
from oneflow._oneflow_internal import eager

from .ranks import progress


@dataclass(frozen=True)
class BlockTiming:
    """Wall and processor seconds of one block, and what its steps returned."""

    duration_s: float
    cpu_s: float
    outputs: List[Any]


def synchronize() -> None:
    """Wait until everything submitted so far, eager or graph, has been computed."""
    eager.Sync()
    if flow.cuda.is_available():  # not run: no GPU was at hand
        flow.cuda.synchronize()


def measure_block(step: Callable[[], Any], steps: int) -> BlockTiming:
    """Run `step` `steps` times between two synchronisations."""
    synchronize()
    cpu_start = time.process_time()
    start = time.perf_counter()
    outputs = []
    for _ in range(steps):
        progress.mark(progress.STEPPING)
        outputs.append(step())
    progress.mark(progress.STEPPING)  # a rank that waits for others gets to here
    synchronize()
    duration = time.perf_counter() - start
    return BlockTiming(duration, time.process_time() - cpu_start, outputs)
