"""pyperf's JSON, version 1.0: opens in `pyperf stats`, `pyperf hist` and `pyperf compare_to`.

The format: https://pyperf.readthedocs.io/en/latest/api.html#pyperf-json. A benchmark is a
contender's train step, a run of it the contender's process, a value the seconds per step of a
steady block.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from typing import Any, Dict, Sequence

from .selection import TRAIN_STEP, Selected, describe_job_of, describe_machine_of, step_time_s

FORMAT_VERSION = "1.0"


def render(selected: Sequence[Selected]) -> str:
    """The suite of benchmarks as JSON text. Raises InputError for a contender never steady."""
    document = {
        "version": FORMAT_VERSION,
        "benchmarks": [_create_benchmark(one) for one in selected],
    }
    return json.dumps(document, indent=1) + "\n"


def _create_benchmark(selected: Selected) -> Dict[str, Any]:
    steady = selected.steady_blocks()
    loops = Counter(block.steps for block in steady).most_common(1)[0][0]
    document = selected.record.document
    metadata: Dict[str, Any] = {
        "name": selected.benchmark_name(TRAIN_STEP),
        "unit": "second",
        "loops": loops,  # blocks of a run differ by one step at most; values are per step
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
            "duration": sum(block.duration_s for block in selected.blocks()),
        },
        "warmups": [
            [block.steps, step_time_s(block)] for block in selected.blocks("first", "warmup")
        ],
        "values": [step_time_s(block) for block in steady],
    }
    if not run["warmups"]:
        del run["warmups"]
    return {"metadata": metadata, "runs": [run]}
