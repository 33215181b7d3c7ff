from __future__ import annotations

import json

import pytest
from records import create_events, create_record

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.run import RunRecord
from oneflow_bench.bench.report.export.benchmarks import render_bencher as render
from oneflow_bench.bench.report.export.selection import select_contenders


def test_a_benchmark_a_contender_with_metrics_as_the_schema_has_them(record):
    content = json.loads(render(select_contenders([record], None)))
    assert list(content) == ["alexnet_cifar/eager", "alexnet_cifar/graph"]
    for measures in content.values():
        for name, metric in measures.items():
            assert len(name) <= 64
            assert "value" in metric
            assert set(metric) <= {"value", "lower_value", "upper_value"}
            low, high = metric.get("lower_value", 0), metric.get("upper_value", 1e300)
            assert low <= metric["value"] <= high
    graph = content["alexnet_cifar/graph"]
    assert graph["latency"]["value"] == pytest.approx(0.08e9, rel=0.02)
    assert graph["throughput"]["value"] == pytest.approx(32 / 0.08, rel=0.02)
    assert graph["compile_s"] == {"value": 0.5}


def test_a_contender_of_which_nothing_was_measured_is_refused():
    whole = create_record(create_events("eager"))
    with pytest.raises(InputError, match="measured nothing of eager"):
        render(select_contenders([RunRecord(whole.document, [])], None))
