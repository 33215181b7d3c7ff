from __future__ import annotations

import json
from pathlib import Path

import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.bench.tools.profile.layers import profile_layers
from oneflow_bench.bench.tools.profile.work import UpdateRule, count_layer
from oneflow_bench.models import create_model

pytestmark = pytest.mark.oneflow

GOLDEN = json.loads(
    (Path(__file__).resolve().parents[3] / "golden" / "params.json").read_text(encoding="utf-8")
)
RULE = UpdateRule(momentum=True, weight_decay=True)


def trace_layers(model, images):
    with profile_layers(model) as profile:
        model(images)
    return profile.trace()


class Small(nn.Module):
    """Grouped and depthwise convolutions, a layer used twice, one not used, a free parameter."""

    def __init__(self):
        super().__init__()
        self.grouped = nn.Conv2d(4, 6, (3, 5), stride=2, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d((2, 3), 2)
        self.average = nn.AdaptiveAvgPool2d((1, 1))
        self.twice = nn.Linear(6, 6)
        self.unused = nn.Linear(9, 9)
        self.scale = nn.Parameter(flow.ones(6))

    def forward(self, x):
        x = self.act(self.depthwise(self.norm(self.grouped(x))))
        x = flow.flatten(self.average(self.pool(x)), 1)
        return self.twice(self.twice(x)) * self.scale


@pytest.fixture(scope="module")
def traced():
    return {t.name: t for t in trace_layers(Small(), flow.zeros(3, 4, 15, 15))}


def test_layers_come_in_order_with_their_real_shapes(traced):
    names = ["grouped", "norm", "depthwise", "act", "pool", "average", "twice", "Small"]
    assert list(traced) == names
    # (15 + 2 - 3) // 2 + 1 = 8 rows, (15 + 2 - 5) // 2 + 1 = 7 columns
    first = traced["grouped"].calls[0]
    assert first.input_shape == [3, 4, 15, 15]
    assert first.output_shape == [3, 6, 8, 7]
    assert not first.needs_input_gradient
    assert traced["norm"].calls[0].needs_input_gradient
    assert len(traced["twice"].calls) == 2


def test_grouped_and_depthwise_convolutions_are_counted(traced):
    grouped = count_layer(traced["grouped"], RULE)
    outputs = 3 * 6 * 8 * 7
    macs = outputs * (4 // 2) * 3 * 5
    assert grouped.macs == macs
    assert grouped.weight_gradient.flops == 2 * macs + outputs
    assert grouped.num_params == 6 * 2 * 15 + 6
    depthwise = count_layer(traced["depthwise"], RULE)
    assert depthwise.macs == outputs * 9
    assert depthwise.weight_gradient.flops == 2 * depthwise.macs


def test_the_rest_is_told_apart(traced):
    operations = {name: t.operation for name, t in traced.items()}
    assert operations == {
        "grouped": "product",
        "norm": "norm",
        "depthwise": "product",
        "act": "element_wise",
        "pool": "max_pool",
        "average": "adaptive_pool",
        "twice": "product",
        "Small": "parameter",
    }
    assert traced["pool"].window == 6
    assert traced["Small"].num_params == 6


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.GroupNorm(1, 2)).eval()
    images = flow.randn(2, 3, 8, 8)
    before = model(images).numpy().copy()
    kinds = [count_layer(trace, RULE).counted for trace in trace_layers(model, images)]
    assert kinds == [True, False]
    assert "forward" not in vars(model[0])
    assert (model(images).numpy() == before).all()


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "vgg16"])
def test_multiply_adds_are_the_published_ones(name, no_initialisation):
    layers = trace_layers(create_model(name), flow.zeros(1, 3, 224, 224))
    # torchvision gives thousandths of 10^9
    published = GOLDEN[name]["gflops"]
    work = [count_layer(layer, RULE) for layer in layers]
    assert sum(layer.macs for layer in work) / 1e9 == pytest.approx(published, abs=0.0006)
    assert sum(layer.num_params for layer in work) == GOLDEN[name]["params"]
