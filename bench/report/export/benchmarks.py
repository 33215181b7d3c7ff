"""Step times and metrics of contenders as other tools for benchmarks write and take theirs.

For pyperf, hyperfine and pytest-benchmark a benchmark is a contender's train step, and a time of it
the seconds per step of a steady block. They raise InputError for a contender that was never steady.
Bencher and github-action-benchmark take metrics, and raise InputError where nothing was measured.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from datetime import datetime
from typing import Any, Dict, Optional, Sequence

import numpy as np

from .... import __version__
from ...errors import InputError
from ...record.events import BlockEvent
from .selection import (
    TRAIN_STEP,
    Scalar,
    Selected,
    describe_job_of,
    describe_machine_of,
    list_scalars,
)

PYPERF_VERSION = "1.0"


def _most_steps(blocks: Sequence[BlockEvent]) -> int:
    """The steps of most blocks; those of a run differ by one at most."""
    return Counter(block.steps for block in blocks).most_common(1)[0][0]


def render_pyperf(selected: Sequence[Selected]) -> str:
    """pyperf's JSON: opens in `pyperf stats`, `pyperf hist` and `pyperf compare_to`.

    The format: https://pyperf.readthedocs.io/en/latest/api.html#pyperf-json. A run of a benchmark
    is the contender's process.
    """
    benchmarks = [_create_pyperf(one) for one in selected]
    return json.dumps({"version": PYPERF_VERSION, "benchmarks": benchmarks}, indent=1) + "\n"


def _create_pyperf(selected: Selected) -> Dict[str, Any]:
    times, steady = selected.list_step_times(), selected.steady_blocks
    warm = [block for block in selected.blocks if block.kind != "steady"]
    document = selected.record.document
    metadata: Dict[str, Any] = {
        "name": selected.benchmark_name(TRAIN_STEP),
        "unit": "second",
        "loops": _most_steps(steady),  # values are per step
        **describe_machine_of(selected),
        **describe_job_of(selected),
    }
    load = document.environment_start.get("load")
    if load:
        metadata["load_avg_1min"] = load[0]
    peak = selected.summary.peak_rss_bytes
    if peak:
        metadata["mem_max_rss"] = peak
    run = {
        "metadata": {
            "date": datetime.fromisoformat(document.created).strftime("%Y-%m-%d %H:%M:%S"),
            "duration": sum(block.duration_s for block in selected.blocks),
        },
        "values": times,
    }
    if warm:
        run["warmups"] = [[block.steps, block.step_time_s] for block in warm]
    return {"metadata": metadata, "runs": [run]}


def render_hyperfine(selected: Sequence[Selected]) -> str:
    """hyperfine's JSON, for the scripts that plot and test what `hyperfine --export-json` writes.

    The record holds processor time as one sum, so `user` carries it, `system` is 0, and their sum
    is right. hyperfine starts a process for each time; here all times are of one, whose peak memory
    and exit status are repeated.
    """
    return json.dumps({"results": [_create_hyperfine(one) for one in selected]}, indent=1) + "\n"


def _create_hyperfine(selected: Selected) -> Dict[str, Any]:
    times, blocks = selected.list_step_times(), selected.steady_blocks
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


def render_pytest_benchmark(selected: Sequence[Selected]) -> str:
    """pytest-benchmark's JSON: opens in `pytest-benchmark compare`.

    Machine and commit of the file are the first run's; each benchmark carries its own as
    `extra_info`.
    """
    document, machine = selected[0].record.document, describe_machine_of(selected[0])
    commit = document.environment_start.get("git_commit") or ""
    cpu = {"brand_raw": machine.get("cpu_model_name"), "count": machine.get("cpu_count")}
    software = {name: machine.get(name) for name in ("python_version", "platform")}
    content = {
        "machine_info": {"node": None, **software, "cpu": cpu},
        "commit_info": {"id": commit.rstrip("+") or None, "dirty": commit.endswith("+")},
        "benchmarks": [_create_pytest_benchmark(one) for one in selected],
        "datetime": document.created,
        "version": f"oneflow-bench {__version__}",
    }
    return json.dumps(content, indent=1) + "\n"


def _create_pytest_benchmark(selected: Selected) -> Dict[str, Any]:
    times, steady = selected.list_step_times(), selected.steady_blocks
    name = selected.benchmark_name(TRAIN_STEP)
    return {
        "group": f"{selected.record.document.workload.model}/{TRAIN_STEP}",
        "name": name,
        "fullname": name,
        "params": None,
        "param": None,
        "extra_info": {**describe_machine_of(selected), **describe_job_of(selected)},
        "options": {"timer": "perf_counter", "warmup": len(steady) < len(selected.blocks)},
        "stats": {**summarize_rounds(times), "data": times, "iterations": _most_steps(steady)},
    }


def summarize_rounds(times_s: Sequence[float]) -> Dict[str, Any]:
    """pytest-benchmark's statistics of a benchmark's rounds, in seconds; at least one time.

    They are defined as its documentation does: quartiles by the second and third method of
    https://en.wikipedia.org/wiki/Quartile, outliers by Tukey's fences.
    """
    ordered = sorted(times_s)
    q1, q3 = map(float, np.percentile(ordered, [25, 75], method="hazen"))
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


def render_bencher(selected: Sequence[Selected]) -> str:
    """Bencher Metric Format: https://bencher.dev/docs/reference/bencher-metric-format.

    `latency` (nanoseconds) and `throughput` (a second) are measures that every project there has;
    the others are created by the first upload, with their unit in the name.
    """
    content = {one.benchmark_name(): _create_measures(one) for one in selected}
    return json.dumps(content, indent=1) + "\n"


def _create_measures(selected: Selected) -> Dict[str, Any]:
    measures = {
        scalar.name: _create_metric(scalar.value, scalar.low, scalar.high)
        for scalar in list_scalars(selected)
    }
    if not measures:
        raise _refuse(selected)
    train = selected.summary.train_step_time_s
    if train is not None:
        del measures["train_step_time_s"]
        batch = selected.record.document.workload.batch_size
        times = (train.median, train.low, train.high)
        rates = (train.median, train.high, train.low)
        measures["latency"] = _create_metric(*(t and t * 1e9 for t in times))
        measures["throughput"] = _create_metric(*(t and batch / t for t in rates))
    return measures


def _refuse(selected: Selected) -> InputError:
    return InputError(
        f"run {selected.record.document.run_id} measured nothing of {selected.name}, "
        "so there is nothing to export; run it again"
    )


def _create_metric(
    value: Optional[float], low: Optional[float], high: Optional[float]
) -> Dict[str, Optional[float]]:
    metric = {"value": value, "lower_value": low, "upper_value": high}
    return {name: number for name, number in metric.items() if number is not None}


def render_github_action(selected: Sequence[Selected]) -> str:
    """The JSON of github-action-benchmark's `customSmallerIsBetter`.

    Its alert compares a point with the one before, and smaller is always better. So accuracy goes
    out as validation error. One entry for each number of each contender.
    """
    entries = [_create_entry(one, scalar) for one in selected for scalar in list_scalars(one)]
    if not entries:
        raise _refuse(selected[0])
    return json.dumps(entries, indent=1) + "\n"


def _create_entry(selected: Selected, scalar: Scalar) -> Dict[str, Any]:
    facts = {"run": selected.record.document.run_id, **describe_machine_of(selected)}
    entry = {
        "name": selected.benchmark_name(scalar.name),
        "unit": scalar.unit,
        "value": scalar.value,
        "extra": "\n".join(f"{name}: {value}" for name, value in facts.items()),
    }
    if scalar.low is not None and scalar.high is not None:
        entry["range"] = f"{scalar.low:.6g} to {scalar.high:.6g}"
    return entry
