"""hyperfine has no reader to install: its documented keys, and its statistics recomputed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from records import create_events, create_record

from oneflow_bench.bench.report.export.benchmarks import render_hyperfine as render
from oneflow_bench.bench.report.export.selection import select_contenders

DOCUMENTED_KEYS = {
    "command",
    "mean",
    "stddev",
    "median",
    "user",
    "system",
    "min",
    "max",
    "times",
    "memory_usage_byte",
    "exit_codes",
    "parameters",
}


def test_keys_and_statistics_are_hyperfines(record):
    results = json.loads(render(select_contenders([record], None)))["results"]
    assert [result["command"] for result in results] == [
        "alexnet_cifar/train_step/eager",
        "alexnet_cifar/train_step/graph",
    ]
    for result in results:
        assert set(result) == DOCUMENTED_KEYS
        times = np.array(result["times"])
        assert len(times) == 47
        assert result["mean"] == pytest.approx(times.mean())
        assert result["stddev"] == pytest.approx(times.std(ddof=1))
        assert result["median"] == pytest.approx(np.median(times))
        assert (result["min"], result["max"]) == (times.min(), times.max())
        assert result["user"] + result["system"] == pytest.approx(0.5 / 5)
        assert result["exit_codes"] == [0] * 47
        assert result["memory_usage_byte"] == [400 * 2**20] * 47
        assert all(isinstance(value, str) for value in result["parameters"].values())


def test_a_killed_worker_has_no_exit_status_and_one_time_no_deviation():
    record = create_record(create_events("eager", blocks=2, epochs=1))
    record.events = record.events[:-1]
    (result,) = json.loads(render(select_contenders([record], None)))["results"]
    assert result["exit_codes"] == [None]
    assert result["stddev"] is None
    assert "memory_usage_byte" not in result
