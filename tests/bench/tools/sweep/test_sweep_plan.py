from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from sweep_cells import create_cell

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.flow_checkpoint import write_flow_folder
from oneflow_bench.bench.tools.sweep.plan import (
    create_axes,
    expand_models,
    order_cells,
    plan_cells,
)
from oneflow_bench.data.pictures import encode_jpeg
from oneflow_bench.data.writer import Description, Sample, write_dataset

DISTILLED = {"teacher": "lenet", "loss": "distillation", "alpha": 0.5, "temperature": 2.0}
QUICK = {"data": "synthetic", "epochs": 1, "steps_per_epoch": 12, "config": None}


def plan(axes, **flags):
    return plan_cells(axes, {**QUICK, **flags}, lambda done, total: None)


def test_wildcards_and_names_give_each_model_once_in_order():
    assert expand_models(["lenet", "vgg1[13]", "lenet", "mine:small"]) == [
        "lenet", "vgg11", "vgg13", "mine:small",
    ]  # fmt: skip


@pytest.mark.parametrize("pattern, word", [("resnot*", "fits 'resnot"), ("lenett", "did you mean")])
def test_a_pattern_that_fits_nothing_is_refused(pattern, word):
    with pytest.raises(InputError, match=word):
        expand_models([pattern])


def test_model_and_batch_size_are_axes_always_and_others_when_listed():
    axes = create_axes({"feed": ("loader",), "image_size": (32, 64)}, None)
    assert axes == {"model": ["alexnet_cifar"], "batch_size": [32], "image_size": [32, 64]}


def test_a_recipe_stands_where_no_flag_is_given(tmp_path):
    recipe = tmp_path / "r.json"
    recipe.write_text(json.dumps({"model": "lenet", "batch_size": 6, "epochs": 3}))
    axes = create_axes({}, str(recipe))
    assert axes == {"model": ["lenet"], "batch_size": [6]}
    flags = {"data": "synthetic", "config": str(recipe)}
    cell = plan_cells(axes, flags, lambda done, total: None)[0].cell
    assert (cell.workload.epochs, cell.workload.steps_per_epoch) == (3, 60)


def test_every_combination_is_a_cell_with_its_own_configuration():
    cells = [one.cell for one in plan({"model": ["lenet", "alexnet_cifar"], "batch_size": [2, 4]})]
    assert [(c.values["model"], c.workload.batch_size) for c in cells] == [
        ("lenet", 2), ("lenet", 4), ("alexnet_cifar", 2), ("alexnet_cifar", 4),
    ]  # fmt: skip
    assert len({cell.fingerprint for cell in cells}) == 4


def test_the_fingerprint_changes_with_what_is_measured_and_not_with_a_time_limit():
    axes = {"model": ["lenet"], "batch_size": [2]}
    same = plan(axes)[0].cell.fingerprint
    assert plan(axes, timeout_s=9.0)[0].cell.fingerprint == same
    for change in ({"steps_per_epoch": 13}, {"runtime": "stock"}, {"block_steps": 2}, {"lr": 0.5}):
        assert plan(axes, **change)[0].cell.fingerprint != same


def test_another_content_of_a_runtime_profile_is_another_configuration(tmp_path):
    profile = tmp_path / "runtime.json"

    def fingerprint():
        (planned,) = plan({"model": ["lenet"], "batch_size": [2]}, runtime=str(profile))
        return planned.cell.fingerprint

    profile.write_text("{}")
    first = fingerprint()
    assert first == fingerprint()
    profile.write_text('{"env": {}}')
    assert fingerprint() != first


def test_other_data_or_weights_in_the_same_place_are_another_configuration(tmp_path):
    data, weights, folder = tmp_path / "data", tmp_path / "w.npz", tmp_path / "flow"

    def write(value):
        shutil.rmtree(data, ignore_errors=True)
        picture = Image.new("RGB", (32, 32), (value, 0, 0))
        samples = [Sample(encode_jpeg(picture, 90), k % 2) for k in range(4)]
        splits = {"train": samples, "val": samples}
        write_dataset(data, Description("mine", ["a", "b"], 90), splits)
        state = {"w": np.full(3, value, np.float32)}
        np.savez(weights, **state)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write_flow_folder(state, folder)

    def fingerprints():
        axes = {"model": ["lenet"], "batch_size": [2]}
        for flags in (
            {"data": str(data)},
            {"load_checkpoint": str(weights)},
            {"load_checkpoint": str(folder)},
            {"teacher_checkpoint": str(weights), **DISTILLED},
        ):
            yield plan(axes, **flags)[0].cell.fingerprint

    write(1)
    before = list(fingerprints())
    assert before == list(fingerprints())
    write(2)
    assert not set(before) & set(fingerprints())


def test_runtime_and_device_can_be_axes():
    cells = [one.cell for one in plan({"model": ["lenet"], "batch_size": [2],
                                       "runtime": ["tuned", "stock"]})]  # fmt: skip
    assert [cell.side for cell in cells] == [{"runtime": "tuned"}, {"runtime": "stock"}]


def test_a_cell_that_cannot_be_run_is_kept_with_its_reason_and_all_of_them_are_an_error():
    one, other = plan({"model": ["lenet", "alexnet"], "batch_size": [2]}, image_size=32)
    assert one.plan is not None and one.refusal is None
    assert other.plan is None and "too small for alexnet" in other.refusal
    with pytest.raises(InputError, match=r"too small for alexnet.*all 2 cells"):
        plan({"model": ["alexnet"], "batch_size": [2, 4]}, image_size=32)


def test_cells_run_in_random_rounds_over_the_models():
    models, sizes = ("a", "b", "c"), (1, 2, 4, 8)
    cells = [create_cell(model, size) for model in models for size in sizes]
    order = order_cells(cells, seed=3)
    assert sorted(order) == list(range(12)) and order == order_cells(cells, seed=3)
    assert order != order_cells(cells, seed=4)
    ran = [cells[position].values for position in order]
    for start in range(0, 12, 3):
        assert {values["model"] for values in ran[start : start + 3]} == set(models)
    by_model = {m: [v["batch_size"] for v in ran if v["model"] == m] for m in models}
    assert len({tuple(sizes) for sizes in by_model.values()}) > 1


def test_models_with_fewer_cells_are_done_earlier_and_none_is_lost():
    cells = [create_cell("a", size) for size in (1, 2, 4)] + [create_cell("b", 1)]
    order = order_cells(cells, seed=0)
    assert sorted(order) == [0, 1, 2, 3] and order.index(3) < 2
