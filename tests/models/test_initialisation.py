"""The spread of the initial weights of each family beside the published initialisation.

A formula gives the standard deviation of a weight from its shape. Parity cannot see a wrong one,
since both modes start from the same weights.
"""

from __future__ import annotations

import math

import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.models import create_model, get_model_spec, list_models

pytestmark = pytest.mark.oneflow

SIGMAS = 6  # of the sample's standard deviation, which is 1 / sqrt(2 n) of it or less
FEWEST = 400  # values of a weight that has a spread
# of a normal distribution that is cut at two standard deviations
TRUNCATED = 0.8796


def fan_in(weight):
    return math.prod(weight.shape[1:])


def fan_out(weight):
    """As frameworks count it: a group of a convolution counts as the whole."""
    return weight.shape[0] * math.prod(weight.shape[2:])


def he(fan):
    """He et al. 2015, arXiv:1502.01852: variance 2 / fan, normal or uniform."""
    return lambda weight: math.sqrt(2 / fan(weight))


def constant(std):
    return lambda weight: std


def uniform(fan):
    """Uniform within 1 / sqrt(fan)."""
    return lambda weight: 1 / math.sqrt(3 * fan(weight))


# family or model -> the formulas of its convolutions and of its linear layers
DEFAULT = (uniform(fan_in), uniform(fan_in))
HE_FAN_OUT = (he(fan_out), constant(0.01))
PUBLISHED = {
    "lenet": DEFAULT,
    "alexnet": DEFAULT,
    "alexnet_cifar": HE_FAN_OUT,
    "alexnet_owt_bn": HE_FAN_OUT,
    "densenet": (he(fan_in), constant(0.01)),
    "squeezenet": (he(fan_in), None),
    "googlenet": (constant(0.01 * TRUNCATED), constant(0.01 * TRUNCATED)),
    "googlenet_cifar": HE_FAN_OUT,
    "inception": (constant(0.1 * TRUNCATED), constant(0.1 * TRUNCATED)),
    "efficientnet": (he(fan_out), uniform(lambda weight: weight.shape[0])),
}
# layers with a formula of their own
HEADS = {
    "squeezenet1_0": {"classifier.1": constant(0.01)},
    "squeezenet1_1": {"classifier.1": constant(0.01)},
    "mobilenet_v2_cifar": {"classifier": constant(0.01)},
    "inception_v3": {
        "AuxLogits.conv1.conv": constant(0.01 * TRUNCATED),
        "AuxLogits.fc": constant(0.001 * TRUNCATED),
    },
}
FAST = ["lenet", "resnet20", "shufflenet_v2_cifar", "squeezenet1_1"]
LARGE = 60_000_000  # parameters; drawing them takes long, and smaller ones have the same code


def list_cases():
    names = [n for n in list_models() if get_model_spec(n).num_params <= LARGE or n == "alexnet"]
    return [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", list_cases())
def test_weights_have_the_published_spread(name):
    spec = get_model_spec(name)
    flow.manual_seed(0)
    model = create_model(name)
    conv, linear = PUBLISHED.get(name, PUBLISHED.get(spec.family, HE_FAN_OUT))
    heads, judged = HEADS.get(name, {}), 0
    for path, layer in model.named_modules():
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            continue
        formula = heads.get(path, conv if isinstance(layer, nn.Conv2d) else linear)
        weight = layer.weight.numpy()
        if weight.size < FEWEST:
            continue
        judged += 1
        expected = formula(weight)
        tolerance = SIGMAS / math.sqrt(2 * weight.size)
        assert weight.std() == pytest.approx(expected, rel=tolerance), path
        assert abs(weight.mean()) < SIGMAS * expected / math.sqrt(weight.size), path
    assert judged > 0
