from __future__ import annotations

import json

import pytest
from records import create_events, create_record

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.run import RunRecord
from oneflow_bench.bench.report.export.benchmarks import render_github_action as render
from oneflow_bench.bench.report.export.selection import select_contenders


def test_entries_have_the_documented_fields_and_smaller_is_better(record):
    entries = json.loads(render(select_contenders([record], None)))
    for entry in entries:
        assert set(entry) - {"range", "extra"} == {"name", "unit", "value"}
        assert isinstance(entry["value"], (int, float))
        assert all(isinstance(entry[key], str) for key in entry if key != "value")
    by_name = {entry["name"]: entry for entry in entries}
    assert len(by_name) == len(entries)
    step = by_name["alexnet_cifar/train_step_time_s/graph"]
    assert step["value"] == pytest.approx(0.08, rel=0.02)
    low, high = (float(part) for part in step["range"].split(" to "))
    assert low <= step["value"] <= high
    assert "cpu_model_name: Example CPU" in step["extra"]
    # accuracy itself would alert when it gets better
    assert by_name["alexnet_cifar/validation_error/eager"]["value"] == pytest.approx(0.1)
    assert not any("accuracy" in name for name in by_name)


def test_a_run_that_measured_nothing_is_refused():
    whole = create_record(create_events("eager"))
    with pytest.raises(InputError, match="nothing to export"):
        render(select_contenders([RunRecord(whole.document, [])], None))
