"""The clock: seconds between two full synchronisations, never anything less.

OneFlow runs asynchronously on the CPU too. `loss.numpy()` waits for that loss and not for the
backward pass and the update behind it; only `Sync` waits for everything.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List

import oneflow as flow

from .counters import Counters, subtract_counters
from .oneflow_compat import wait_for_submitted


def measure_speed_block(
    step: Callable[[], Any], steps: int, untimed_steps: int, counters: Counters
) -> Dict[str, Any]:
    """Cost of `steps` steps, after `untimed_steps` that refill the caches that others emptied."""
    for _ in range(untimed_steps):
        step()
    synchronize()
    before = counters.read()
    timed = measure_block(step, steps)
    used = subtract_counters(counters.read(), before)
    return {"duration_s": timed.duration_s, "cpu_s": timed.cpu_s, **used}


def measure_step_time(step: Callable[[], Any], steps: int) -> float:
    return measure_block(step, steps).duration_s / steps


def measure_synchronization(count: int = 20) -> float:
    """Seconds of a synchronisation with nothing to wait for; the median of `count`."""
    synchronize()
    return statistics.median(measure_block(lambda: None, 0).duration_s for _ in range(count))


@dataclass(frozen=True)
class BlockTiming:
    """Wall and processor seconds of one block, and what its steps returned."""

    duration_s: float
    cpu_s: float
    outputs: List[Any]


def synchronize() -> None:
    """Wait until everything submitted so far, eager or graph, has been computed."""
    wait_for_submitted()
    if flow.cuda.is_available():  # not run: no GPU was at hand
        flow.cuda.synchronize()


def measure_block(step: Callable[[], Any], steps: int) -> BlockTiming:
    """Run `step` `steps` times between two synchronisations."""
    synchronize()
    cpu_start = time.process_time()
    start = time.perf_counter()
    outputs = [step() for _ in range(steps)]
    synchronize()
    duration = time.perf_counter() - start
    return BlockTiming(duration, time.process_time() - cpu_start, outputs)
