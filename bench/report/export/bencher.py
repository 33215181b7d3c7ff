"""Bencher Metric Format: https://bencher.dev/docs/reference/bencher-metric-format.

`latency` (nanoseconds) and `throughput` (a second) are measures that every project there has; the
others are created by the first upload, with their unit in the name.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Optional, Sequence

from ...errors import InputError
from .selection import Selected, list_scalars


def render(selected: Sequence[Selected]) -> str:
    """A benchmark for each contender. Raises InputError for a contender without measurements."""
    content = {one.benchmark_name(): _create_measures(one) for one in selected}
    return json.dumps(content, indent=1) + "\n"


def _create_measures(selected: Selected) -> Dict[str, Any]:
    measures = {
        scalar.name: _create_metric(scalar.value, scalar.low, scalar.high)
        for scalar in list_scalars(selected)
    }
    if not measures:
        raise InputError(
            f"run {selected.record.document.run_id} measured nothing of {selected.contender.name}, "
            "so there is nothing to export; run it again"
        )
    train = selected.summary.train_step_time_s
    if train is not None:
        del measures["train_step_time_s"]
        batch = selected.record.document.workload.batch_size
        measures["latency"] = _create_metric(
            *(None if t is None else t * 1e9 for t in (train.median, train.low, train.high))
        )
        measures["throughput"] = _create_metric(
            *(None if t is None else batch / t for t in (train.median, train.high, train.low))
        )
    return measures


def _create_metric(
    value: Optional[float], low: Optional[float], high: Optional[float]
) -> Dict[str, Optional[float]]:
    metric = {"value": value, "lower_value": low, "upper_value": high}
    return {name: number for name, number in metric.items() if number is not None}
