"""pytest-benchmark's JSON: opens in `pytest-benchmark compare`.

The statistics are those of its documentation and are defined as it defines them: quartiles by the
second and third method of https://en.wikipedia.org/wiki/Quartile, outliers by Tukey's fences.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from typing import Any, Dict, List, Sequence, Tuple

from .... import __version__
from .selection import TRAIN_STEP, Selected, describe_job_of, describe_machine_of, step_time_s


def render(selected: Sequence[Selected]) -> str:
    """All benchmarks as JSON text. Raises InputError for a contender that was never steady.

    Machine and commit of the file are the first run's; each benchmark carries its own as
    `extra_info`.
    """
    first = selected[0]
    document = first.record.document
    machine = describe_machine_of(first)
    commit = document.environment_start.get("git_commit") or ""
    content = {
        "machine_info": {
            "node": None,
            "python_version": machine.get("python_version"),
            "platform": machine.get("platform"),
            "cpu": {
                "brand_raw": machine.get("cpu_model_name"),
                "count": machine.get("cpu_count"),
            },
        },
        "commit_info": {"id": commit.rstrip("+") or None, "dirty": commit.endswith("+")},
        "benchmarks": [_create_benchmark(one) for one in selected],
        "datetime": document.created,
        "version": f"oneflow-bench {__version__}",
    }
    return json.dumps(content, indent=1) + "\n"


def _create_benchmark(selected: Selected) -> Dict[str, Any]:
    blocks = selected.steady_blocks()
    times = [step_time_s(block) for block in blocks]
    iterations = Counter(block.steps for block in blocks).most_common(1)[0][0]
    name = selected.benchmark_name(TRAIN_STEP)
    return {
        "group": f"{selected.record.document.workload.model}/{TRAIN_STEP}",
        "name": name,
        "fullname": name,
        "params": None,
        "param": None,
        "extra_info": {**describe_machine_of(selected), **describe_job_of(selected)},
        "options": {"timer": "perf_counter", "warmup": bool(selected.blocks("first", "warmup"))},
        "stats": {**summarize_rounds(times), "data": times, "iterations": iterations},
    }


def summarize_rounds(times_s: Sequence[float]) -> Dict[str, Any]:
    """The statistics of a benchmark's rounds, in seconds; at least one time."""
    ordered = sorted(times_s)
    q1, q3 = _quartiles(ordered)
    mean, spread = statistics.mean(ordered), q3 - q1
    stddev = statistics.stdev(ordered) if len(ordered) > 1 else 0
    low, high = q1 - 1.5 * spread, q3 + 1.5 * spread
    beyond_stddev = sum(abs(time - mean) > stddev for time in ordered)
    beyond_fences = sum(time < low or time > high for time in ordered)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": stddev,
        "rounds": len(ordered),
        "median": statistics.median(ordered),
        "iqr": spread,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond_fences,
        "stddev_outliers": beyond_stddev,
        "outliers": f"{beyond_stddev};{beyond_fences}",
        "ld15iqr": min(time for time in ordered if time >= low),
        "hd15iqr": max(time for time in ordered if time <= high),
        "ops": len(ordered) / sum(ordered),
        "total": sum(ordered),
    }


def _quartiles(ordered: List[float]) -> Tuple[float, float]:
    count = len(ordered)
    if count == 1:
        return ordered[0], ordered[0]
    if count % 2 == 0:
        return statistics.median(ordered[: count // 2]), statistics.median(ordered[count // 2 :])
    n, rest = divmod(count, 4)
    if rest == 1:
        return (
            0.25 * ordered[n - 1] + 0.75 * ordered[n],
            0.75 * ordered[3 * n] + 0.25 * ordered[3 * n + 1],
        )
    return (
        0.75 * ordered[n] + 0.25 * ordered[n + 1],
        0.25 * ordered[3 * n + 1] + 0.75 * ordered[3 * n + 2],
    )
