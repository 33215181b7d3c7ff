from __future__ import annotations

import subprocess
import sys

import oneflow as flow
import pytest

from oneflow_bench.models import (
    OwnCodeError,
    UnknownModelError,
    create_model,
    get_model_spec,
    list_arguments,
    list_models,
    register_model,
)

THIN = ["resnet20", "resnet26", "resnet32", "resnet44", "resnet56"]


def test_wildcards_choose_models():
    assert list_models("resnet??") == ["resnet18", "resnet34", "resnet50", *THIN]
    assert list_models("vgg1?_bn") == ["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]
    assert list_models("no-such*") == []
    assert len(list_models()) == 67


def test_an_unknown_name_lists_close_matches():
    with pytest.raises(UnknownModelError, match="did you mean alexnet"):
        get_model_spec("alexnt")
    with pytest.raises(UnknownModelError, match="bench models lists them all"):
        create_model("qqqqqqqq")


def test_a_factory_needs_a_row_and_is_registered_once():
    def unheard_of(num_classes):
        return None

    with pytest.raises(ValueError, match="no row in the model table"):
        register_model(unheard_of)
    create_model("lenet")

    def lenet(num_classes):
        return None

    with pytest.raises(ValueError, match="registered twice"):
        register_model(lenet)


def test_listing_needs_no_oneflow():
    code = "import sys; sys.modules['oneflow'] = None\nfrom oneflow_bench.models import *\n"
    code += "print(len(list_models()))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert done.stdout.strip() == b"67"


@pytest.mark.oneflow
@pytest.mark.parametrize("name, classes", [("lenet", 10), ("squeezenet1_1", 1000)])
def test_a_model_has_its_own_number_of_classes_unless_another_is_given(name, classes):
    size = get_model_spec(name).default_image_size
    images = flow.zeros(1, 3, size, size)
    assert create_model(name).eval()(images).shape[1] == classes
    assert create_model(name, num_classes=7).eval()(images).shape[1] == 7


@pytest.mark.oneflow
def test_a_model_is_imported_by_its_name_also_where_a_module_has_it():
    from oneflow_bench import models
    from oneflow_bench.models import alexnet, mobilenet_v2_cifar
    from oneflow_bench.models.alexnet import AlexNet

    models.alexnet = sys.modules["oneflow_bench.models.alexnet"]  # as an import does
    assert models.alexnet is alexnet is AlexNet
    assert mobilenet_v2_cifar(num_classes=10).classifier.weight.numpy().std() < 0.02
    with pytest.raises(AttributeError, match="no_such_model"):
        _ = models.no_such_model


@pytest.mark.oneflow
def test_the_arguments_of_a_model_are_known():
    assert list_arguments("lenet") == {}
    assert list_arguments("densenet_bc_cifar") == {"depth": 100, "growth": 12}


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(
        "from oneflow import nn\n"
        "def good(num_classes): return nn.Linear(4, num_classes)\n"
        "def without_argument(): return nn.Linear(4, 4)\n"
        "def no_module(num_classes): return 3\n"
        "number = 3\n"
    )
    (tmp_path / "broken_models.py").write_text("import does_not_exist\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.oneflow
def test_a_model_of_ones_own_is_found_in_the_current_folder(own_models):
    assert create_model("own_models:good", num_classes=7).out_features == 7


@pytest.mark.oneflow
@pytest.mark.parametrize(
    "name, message",
    [
        ("no_such_module:model", "cannot be imported"),
        ("broken_models:model", "does_not_exist"),
        ("own_models:absent", "no function or class 'absent'"),
        ("own_models:number", "no function or class 'number'"),
        ("own_models:without_argument", "must take num_classes"),
        ("own_models:no_module", "returned an object of type int"),
    ],
)
def test_a_factory_that_cannot_be_used_is_one_sentence(own_models, name, message):
    with pytest.raises(OwnCodeError, match=message):
        create_model(name, num_classes=10)
