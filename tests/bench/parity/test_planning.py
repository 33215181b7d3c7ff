from __future__ import annotations

import pytest

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.parity.planning import choose_models, create_check_plans, select_models


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
