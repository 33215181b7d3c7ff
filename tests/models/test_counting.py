from __future__ import annotations

import json
from pathlib import Path

import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.models import create_model, get_model_spec, list_models
from oneflow_bench.models.counting import (
    check_image_size,
    count_macs,
    count_parameters,
    find_min_image_size,
)

pytestmark = pytest.mark.oneflow

GOLDEN = json.loads((Path(__file__).resolve().parent.parent / "golden" / "params.json").read_text())


class Small(nn.Module):
    """A strided, padded, dilated and grouped convolution, and a linear layer called twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, (3, 5), stride=2, padding=1, dilation=(2, 1), groups=3)
        self.pool = nn.MaxPool2d(2, 2)
        self.square = nn.Linear(3, 3)
        self.unused = nn.Linear(7, 7)

    def forward(self, x):
        x = self.pool(self.conv(x)).mean(dim=(1, 2))
        return self.square(self.square(x))


def test_multiply_adds_are_counted_layer_by_layer():
    # 14 px: (14 + 2 - 5) // 2 + 1 = 6 rows and (14 + 2 - 5) // 2 + 1 = 6 columns
    assert count_macs(Small(), 14) == {
        "conv": 6 * 6 * 6 * (3 // 3) * 3 * 5,
        "square": 2 * 3 * 3,
        "unused": 0,
    }
    assert count_parameters(Small()) == 6 * 15 + 6 + 12 + 56


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_model_as_it_was(training):
    model = Small().train(training)
    images = flow.randn(2, 3, 14, 14)
    before = model(images).numpy().copy()
    count_macs(model, 14)
    assert (model(images).numpy() == before).all()
    with pytest.raises(ValueError, match="too small"):
        count_macs(model, 3)
    assert (model(images).numpy() == before).all()
    assert model.training is training


def test_the_shape_is_the_real_one():
    model = Small()
    shape = model.conv(flow.zeros(1, 3, 14, 14)).shape
    assert tuple(shape) == (1, 6, 6, 6)


@pytest.mark.parametrize("ceil_mode, smallest", [(False, 9), (True, 7)])
def test_the_smallest_image_fills_every_window(ceil_mode, smallest):
    model = nn.Sequential(
        nn.Conv2d(3, 1, 3, stride=2), nn.MaxPool2d(2, 2, ceil_mode=ceil_mode), nn.Conv2d(1, 1, 2)
    )
    assert find_min_image_size(model, 64) == smallest
    with pytest.raises(ValueError, match=r"2 looks at \(1, 1\) pixels with a window of"):
        check_image_size(model, 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_the_table_has_the_counted_multiply_adds(name, no_initialisation):
    spec = get_model_spec(name)
    model = create_model(name, num_classes=spec.num_classes)
    assert sum(count_macs(model, spec.default_image_size).values()) == spec.num_macs


@pytest.mark.slow
@pytest.mark.parametrize("name", [row for row in GOLDEN if "gflops" in GOLDEN[row]])
def test_multiply_adds_are_torchvisions(name):
    # torchvision gives thousandths of 10^9
    published = GOLDEN[name]["gflops"]
    assert get_model_spec(name).num_macs / 1e9 == pytest.approx(published, abs=0.0006)
