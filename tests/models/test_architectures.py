from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.models import create_model, get_model_spec, list_models

pytestmark = pytest.mark.oneflow

GOLDEN = json.loads((Path(__file__).resolve().parent.parent / "golden" / "params.json").read_text())
CLASSES = 5
# the deeper siblings are made of the same blocks; their step takes minutes on two cores
TRAINED = ["lenet", "alexnet", "alexnet_cifar", "vgg11_bn", "resnet18", "resnet50"]


def count_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("row", GOLDEN)
def test_parameter_counts_are_the_published_ones(row):
    expected = GOLDEN[row]
    model = create_model(expected["model"], num_classes=expected["num_classes"])
    assert count_parameters(model) == expected["params"]


@pytest.mark.parametrize("name", list_models())
def test_the_table_says_what_the_model_has(name):
    spec = get_model_spec(name)
    assert GOLDEN[name]["params"] == spec.num_params
    assert GOLDEN[name]["num_classes"] == spec.num_classes


@pytest.mark.parametrize("name", [n for n in list_models() if not n.startswith("vgg1")] + ["vgg11"])
def test_output_shape_at_the_smallest_size(name):
    size = get_model_spec(name).min_image_size
    model = create_model(name, num_classes=CLASSES)
    model.eval()
    with flow.no_grad():
        assert tuple(model(flow.randn(2, 3, size, size)).shape) == (2, CLASSES)


@pytest.mark.parametrize(
    "name, count, some",
    [
        ("alexnet", 16, ["features.0.weight", "features.10.bias", "classifier.6.weight"]),
        ("vgg16", 32, ["features.28.weight", "classifier.0.weight", "classifier.6.bias"]),
        ("vgg16_bn", 97, ["features.1.running_mean", "features.41.num_batches_tracked"]),
        ("resnet18", 122, ["layer2.0.downsample.0.weight", "layer4.1.bn2.running_var", "fc.bias"]),
        ("resnet50", 320, ["layer1.0.downsample.1.bias", "layer3.5.conv3.weight", "bn1.weight"]),
    ],
)
def test_state_dict_keys_are_torchvisions(name, count, some):
    keys = set(create_model(name).state_dict())
    assert len(keys) == count
    assert set(some) <= keys


@pytest.mark.parametrize("name", list_models("*net*"))
def test_the_same_seed_gives_the_same_weights(name):
    states = []
    for _ in range(2):
        flow.manual_seed(3)
        states.append(create_model(name, num_classes=CLASSES).state_dict())
    for key, value in states[0].items():
        assert np.array_equal(value.numpy(), states[1][key].numpy()), key


def test_he_initialisation_has_the_published_spread():
    flow.manual_seed(0)
    weight = create_model("resnet18").layer4[1].conv2.weight.numpy()
    assert weight.std() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.02)


class TrainGraph(nn.Graph):
    def __init__(self, model, optimizer):
        super().__init__()
        self.model = model
        self.criterion = nn.CrossEntropyLoss()
        self.add_optimizer(optimizer)

    def build(self, images, labels):
        loss = self.criterion(self.model(images), labels)
        loss.backward()
        return loss


@pytest.mark.parametrize("name", TRAINED)
def test_a_train_step_is_the_same_eagerly_and_as_a_graph(name):
    size = get_model_spec(name).min_image_size
    source = np.random.RandomState(0)
    images = flow.tensor(source.standard_normal((4, 3, size, size)).astype(np.float32))
    labels = flow.tensor(np.arange(4, dtype=np.int32) % CLASSES)
    losses = {}
    for mode in ("eager", "graph"):
        flow.manual_seed(1)
        model = create_model(name, num_classes=CLASSES)
        model.train()
        optimizer = flow.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
        graph = TrainGraph(model, optimizer) if mode == "graph" else None
        losses[mode] = []
        for _ in range(2):
            if graph is not None:
                loss = graph(images, labels)
            else:
                optimizer.zero_grad(set_to_none=True)
                loss = nn.CrossEntropyLoss()(model(images), labels)
                loss.backward()
                optimizer.step()
            losses[mode].append(float(loss.numpy()))
    assert losses["eager"] == pytest.approx(losses["graph"], rel=1e-6)
    assert losses["eager"][0] != losses["eager"][1]
