"""What a worker times for the speed verdict, between full synchronisations as everywhere."""

from __future__ import annotations

import statistics
from typing import Any, Callable, Dict

from .counters import Counters, subtract_counters
from .timing import measure_block, synchronize


def measure_speed_block(
    step: Callable[[], Any], steps: int, lead_steps: int, counters: Counters
) -> Dict[str, Any]:
    """Wall and processor seconds of `steps` steps, and what they used besides.

    `lead_steps` run before the clock starts, to fill the caches that the others' turns emptied.
    """
    for _ in range(lead_steps):
        step()
    synchronize()
    before = counters.read()
    timed = measure_block(step, steps)
    used = subtract_counters(counters.read(), before)
    return {"duration_s": timed.duration_s, "cpu_s": timed.cpu_s, **used}


def measure_step_time(step: Callable[[], Any], steps: int) -> float:
    """Mean seconds of a step."""
    return measure_block(step, steps).duration_s / steps


def measure_synchronization(count: int = 20) -> float:
    """Seconds of a synchronisation with nothing to wait for; the median of `count`."""
    synchronize()
    return statistics.median(measure_block(lambda: None, 0).duration_s for _ in range(count))
