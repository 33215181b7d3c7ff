"""The metrics of contenders as the services Bencher and github-action-benchmark take them.

Both raise InputError where nothing was measured.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Optional, Sequence

from ...errors import InputError
from .selection import Scalar, Selected, describe_machine_of, list_scalars


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
