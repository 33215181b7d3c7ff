"""hyperfine's JSON, for the scripts that plot and test what `hyperfine --export-json` writes.

A result is a contender, a time the seconds per step of a steady block. The record holds processor
time as one sum, so `user` carries it, `system` is 0, and their sum is right. hyperfine starts a
process for each time; here all times are of one, whose peak memory and exit status are repeated.
"""

from __future__ import annotations

import json
import statistics
from typing import Any, Dict, Sequence

from .selection import TRAIN_STEP, Selected, describe_job_of, step_time_s


def render(selected: Sequence[Selected]) -> str:
    """All contenders as JSON text. Raises InputError for one that was never steady."""
    return json.dumps({"results": [_create_result(one) for one in selected]}, indent=1) + "\n"


def _create_result(selected: Selected) -> Dict[str, Any]:
    blocks = selected.steady_blocks()
    times = [step_time_s(block) for block in blocks]
    peak = selected.summary.peak_rss_bytes
    result = {
        "command": selected.benchmark_name(TRAIN_STEP),
        "mean": statistics.mean(times),
        "stddev": statistics.stdev(times) if len(times) > 1 else None,
        "median": statistics.median(times),
        "user": statistics.mean(block.cpu_s / block.steps for block in blocks),
        "system": 0.0,
        "min": min(times),
        "max": max(times),
        "times": times,
        # a worker without an end event was killed, which hyperfine writes as null
        "exit_codes": [None if peak is None else 0] * len(times),
        "parameters": {name: str(value) for name, value in describe_job_of(selected).items()},
    }
    if peak is not None:
        result["memory_usage_byte"] = [peak] * len(times)
    return result
