from __future__ import annotations

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.check_plan import (
    choose_models,
    create_check_flags,
    create_check_plans,
    select_models,
)
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.models import get_model_spec, list_models


def no_baselines():
    return []


def test_names_and_wildcards_are_taken_once_in_their_order():
    assert select_models("lenet, vgg11,vgg1?,lenet,") == [
        "lenet", "vgg11", "vgg13", "vgg16", "vgg19",
    ]  # fmt: skip
    assert select_models("mine.models:small,lenet") == ["mine.models:small", "lenet"]


@pytest.mark.parametrize(
    "text, message", [("lenet,no-such*", "no model's name fits 'no-such\\*'"), (" ,", "no model")]
)
def test_a_pattern_that_fits_nothing_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        select_models(text)


def test_what_names_a_model_comes_before_the_baselines(tmp_path):
    def fails():
        raise AssertionError("the baselines were asked for")

    (tmp_path / "r.toml").write_text('model = "lenet"\n')
    config = {"config": str(tmp_path / "r.toml")}
    assert choose_models({}, "vgg11", fails) == ["vgg11"]
    assert choose_models({"model": "alexnet", **config}, None, fails) == ["alexnet"]
    assert choose_models(config, None, fails) == ["lenet"]


def test_without_a_name_the_baselines_say_it_and_else_the_default():
    assert choose_models({}, None, lambda: ["resnet18", "lenet"]) == ["resnet18", "lenet"]
    assert choose_models({}, None, no_baselines) == ["alexnet_cifar"]


def test_two_ways_to_name_models_are_one_too_many():
    with pytest.raises(InputError, match="--model and --models both"):
        choose_models({"model": "lenet"}, "lenet", no_baselines)


def test_one_model_that_cannot_be_planned_stops_all():
    with pytest.raises(InputError, match="--image-size 32 is too small for alexnet"):
        create_check_plans(["lenet", "alexnet"], {"image_size": 32})
    assert [plan.workload.model for plan in create_check_plans(["lenet", "vgg11"], {})] == [
        "lenet", "vgg11",
    ]  # fmt: skip


def test_a_check_is_six_steps_with_a_decay_before_the_last_two():
    plan = create_plan(create_check_flags("resnet18", {}))
    workload = plan.workload
    assert plan.steps_per_epoch * workload.epochs == 6
    assert (workload.schedule, workload.lr_step, workload.lr) == ("step", 2, 0.01)
    assert workload.lr_gamma == 0.5
    assert (workload.batch_size, workload.num_classes, workload.data) == (4, 10, "synthetic")


@pytest.mark.parametrize(
    "model, size", [("resnet18", 64), ("lenet", 32), ("alexnet_cifar", 32), ("alexnet", 64)]
)
def test_images_are_small(model, size):
    assert create_check_flags(model, {})["image_size"] == size


def test_no_model_of_the_registry_gets_images_that_are_too_small():
    for name in list_models():
        size = create_plan(create_check_flags(name, {})).workload.image_size
        assert size >= get_model_spec(name).min_image_size


def test_flags_win_over_the_recipe_and_that_over_the_defaults(tmp_path):
    (tmp_path / "r.toml").write_text(
        'model = "lenet"\ndata = "synthetic"\nlr = 0.5\nepochs = 7\nimage_size = 48\n'
    )
    flags = {"config": str(tmp_path / "r.toml"), "epochs": 2, "seed": None}
    workload = create_plan(create_check_flags("alexnet_cifar", flags)).workload
    assert (workload.model, workload.lr, workload.epochs) == ("alexnet_cifar", 0.5, 2)
    assert (workload.image_size, workload.batch_size) == (48, 4)


def test_a_dataset_says_its_classes_itself():
    flags = create_check_flags("lenet", {"data": "embedded-digits"})
    assert "num_classes" not in flags
    assert create_plan(flags).workload.num_classes == 10


def test_a_model_of_ones_own_keeps_the_size_of_a_plan():
    assert "image_size" not in create_check_flags("mine:small", {})


def test_an_unknown_model_is_one_sentence():
    with pytest.raises(InputError, match="unknown model 'alexnt'; did you mean alexnet"):
        create_check_flags("alexnt", {})


def test_an_optimizer_of_ones_own_gets_none_of_the_defaults_that_it_sets_itself():
    defaults = {"lr": 0.001, "optimizer": "adam", "weight_decay": 0.0}
    flags = create_check_flags("lenet", {"optimizer": "mine:make"}, defaults)
    assert "weight_decay" not in flags and flags["lr"] == 0.001


@pytest.mark.parametrize("flags", [{"schedule": "constant"}, {"schedule": "cosine"}])
def test_a_default_of_a_check_that_the_flags_do_not_read_is_left_out(flags):
    given = create_check_flags("lenet", flags)
    assert "lr_step" not in given and "lr_gamma" not in given
    assert create_plan(given).workload.schedule == flags["schedule"]
