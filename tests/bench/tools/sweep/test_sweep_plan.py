from __future__ import annotations

import json

import pytest
from sweep_cells import MACHINE, create_cell, create_result, create_sweep

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.tools.sweep.document import save_sweep
from oneflow_bench.bench.tools.sweep.plan import (
    carry_results,
    create_axes,
    expand_models,
    find_stored_sweep,
    order_cells,
    plan_cells,
)

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


def carry(stored, wanted, folder, timeout_s=60.0, retry=False):
    return carry_results(stored, wanted, folder, timeout_s, retry)


def test_what_is_done_stays_and_what_changed_is_run_again(tmp_path):
    stored = create_sweep(
        create_cell(batch_size=1, result=create_result()),
        create_cell(batch_size=2, result=create_result(), fingerprint="old"),
        create_cell(batch_size=4),
    )
    wanted = create_sweep(*(create_cell(batch_size=size) for size in (1, 2, 4, 8)))
    assert carry(stored, wanted, tmp_path) == 1
    assert [cell.result is not None for cell in wanted.cells] == [True, False, False, False]


@pytest.mark.parametrize(
    "status, timeout_s, retry, kept",
    [
        ("failed", 60.0, False, True),
        ("failed", 60.0, True, False),
        ("timeout", 60.0, False, True),
        ("timeout", 61.0, False, False),  # a longer limit may let it end
        ("done", 61.0, True, True),
    ],
)
def test_a_failure_is_a_result_until_it_is_asked_for_again(
    tmp_path, status, timeout_s, retry, kept
):
    stored = create_sweep(create_cell(result=create_result(status=status)))
    wanted = create_sweep(create_cell())
    carry(stored, wanted, tmp_path, timeout_s, retry)
    assert (wanted.cells[0].result is not None) == kept


def test_a_folder_of_another_sweep_or_machine_or_of_other_things_is_refused(tmp_path):
    stored = create_sweep(create_cell(batch_size=1), create_cell(batch_size=2))
    with pytest.raises(InputError, match="another sweep, with 1 cells .*first: lenet batch_size=2"):
        carry(stored, create_sweep(create_cell(batch_size=1)), tmp_path)
    with pytest.raises(InputError, match=r"another machine \(other cores\)"):
        carry(create_sweep(create_cell(), machine={**MACHINE, "cores": 64}),
              create_sweep(create_cell()), tmp_path)  # fmt: skip
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="holds no sweep"):
        find_stored_sweep(tmp_path)
    assert find_stored_sweep(tmp_path / "new") is None
    save_sweep(tmp_path, stored)
    assert find_stored_sweep(tmp_path) == stored
