from __future__ import annotations

import json
from pathlib import Path

import pytest
from limits_records import create_layer, create_layer_profile, create_limits, create_profile

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.errors import InputError, RecordError
from oneflow_bench.bench.report.blocks import format_markdown
from oneflow_bench.bench.tools.profile.document import (
    check_limits,
    layer_rows,
    load_limits,
    load_profile,
)
from oneflow_bench.bench.tools.profile.report import report_profile

RESULTS = Path(__file__).resolve().parents[4] / "results"
STEP = Workload(model="alexnet", batch_size=4, image_size=32)


def test_limits_of_another_step_are_refused():
    limits = create_limits(workload=STEP)
    check_limits(limits, STEP)
    with pytest.raises(InputError, match="--limits is of --batch-size 4 and this run has 9"):
        check_limits(limits, STEP.model_copy(update={"batch_size": 9}))
    with pytest.raises(InputError, match="--limits is of --num-classes 10 and this run has 100"):
        check_limits(limits, STEP.model_copy(update={"num_classes": 100}))


def test_the_share_is_of_what_was_measured():
    # each of three parts takes 1 GFLOP, 1 / 150 s on two cores
    layers = [create_layer_profile(0, 0.1, 0.1), create_layer_profile(1, 0.1, backward=0.0)]
    limits = create_limits([create_layer(f"features.{number}") for number in range(3)])
    rows = layer_rows(create_profile(layers), limits)
    assert {row.layer.name: row.timed_floor_s / row.total_s for row in rows} == {
        "features.0": pytest.approx(3 / 150 / 0.2),
        "features.1": pytest.approx(1 / 150 / 0.1),
    }
    assert [row.floor_s for row in rows] == [pytest.approx(3 / 150)] * 2
    assert [row.limit for row in rows] == ["compute"] * 2


def test_other_layers_and_other_parameters_are_refused():
    limits = create_limits([create_layer("features.0")])
    for layer in (
        create_layer_profile(7),
        create_layer_profile(0).model_copy(update={"num_params": 11}),
    ):
        with pytest.raises(InputError, match="the same --num-classes and --model-arg"):
            layer_rows(create_profile([layer]), limits)


def test_a_folder_without_a_profile_is_refused(tmp_path):
    with pytest.raises(RecordError, match="give the folder of a `bench profile`"):
        load_profile(tmp_path)
    profile = create_profile([create_layer_profile(0)])
    (tmp_path / "profile.json").write_text(profile.model_dump_json())
    assert load_profile(tmp_path) == profile


def test_limits_are_read_from_a_profile_and_from_the_older_limits_json(tmp_path):
    limits = create_limits(torch=True)
    profile = create_profile([create_layer_profile(0)], limits=limits)
    (tmp_path / "profile.json").write_text(profile.model_dump_json())
    assert load_limits(tmp_path) == limits
    older = limits.model_dump()
    older["witness"] = older.pop("loss_runs")
    older["profile"] = "results/a"
    older["layer_times"] = [{"name": "features.0", "forward_s": 0.1, "backward_s": None}]
    (tmp_path / "profile.json").unlink()
    (tmp_path / "limits.json").write_text(json.dumps(older))
    assert load_limits(tmp_path) == limits


def test_limits_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(RecordError, match="give the folder of a `bench profile --limits`"):
        load_limits(tmp_path / "nowhere")
    (tmp_path / "profile.json").write_text(create_profile([]).model_dump_json())
    with pytest.raises(InputError, match="was made without --limits"):
        load_limits(tmp_path)
    (tmp_path / "limits.json").write_text("{")
    with pytest.raises(RecordError, match="is not JSON"):
        load_limits(tmp_path)


def test_every_stored_profile_is_read_and_reported():
    paths = list(RESULTS.rglob("profile.json"))
    assert len(paths) > 10
    for path in paths:
        text = format_markdown(report_profile(load_profile(path)))
        assert "| all layers |" in text
