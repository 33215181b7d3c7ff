"""DenseNet (Huang et al., 2016, arXiv:1608.06993), layers and names as torchvision's.

The `_cifar` models have a 3x3 convolution of stride 1 as their stem, without batch norm or pooling.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Sequence

import oneflow as flow
from oneflow import nn

from .initialisation import initialise_he
from .registry import register_model

_BOTTLENECK = 4  # a 1x1 convolution gives 4 growth channels to the 3x3 one


class DenseLayer(nn.Module):
    """(B, C, H, W) to (B, C + growth, H, W): the input with what is computed from it behind."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        inner = _BOTTLENECK * growth
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        new = self.conv1(self.relu1(self.norm1(x)))
        new = self.conv2(self.relu2(self.norm2(new)))
        return flow.cat([x, new], dim=1)


class DenseNet(nn.Module):
    """Dense blocks with transitions that halve channels and size between them.

    He initialisation with fan-in, as the paper says ("we adopt the weight initialization
    introduced by" He et al. 2015); batch norm as the identity, linear N(0, 0.01). Input
    (B, 3, H, W); output (B, num_classes).
    """

    def __init__(
        self,
        growth: int,
        depths: Sequence[int],
        stem_width: int,
        cifar_stem: bool,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(_create_stem(stem_width, cifar_stem))
        channels = stem_width
        for number, depth in enumerate(depths, start=1):
            self.features.add_module(
                f"denseblock{number}", _create_dense_block(channels, growth, depth)
            )
            channels += growth * depth
            if number < len(depths):
                self.features.add_module(f"transition{number}", _create_transition(channels))
                channels //= 2
        self.features.add_module(f"norm{len(depths) + 1}", nn.BatchNorm2d(channels))
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Linear(channels, num_classes)
        initialise_he(self, mode="fan_in")

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.avgpool(self.relu(self.features(x)))
        return self.classifier(flow.flatten(x, 1))


def _create_stem(width: int, cifar_stem: bool) -> OrderedDict[str, nn.Module]:
    if cifar_stem:
        return OrderedDict(conv0=nn.Conv2d(3, width, 3, padding=1, bias=False))
    return OrderedDict(
        conv0=nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
        norm0=nn.BatchNorm2d(width),
        relu0=nn.ReLU(),
        pool0=nn.MaxPool2d(3, 2, 1),
    )


def _create_dense_block(channels: int, growth: int, depth: int) -> nn.Sequential:
    layers = (
        (f"denselayer{number + 1}", DenseLayer(channels + number * growth, growth))
        for number in range(depth)
    )
    return nn.Sequential(OrderedDict(layers))


def _create_transition(channels: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(channels),
            relu=nn.ReLU(),
            conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, 2),
        )
    )


register_model(partial(DenseNet, 32, (6, 12, 24, 16), 64, False), "densenet121")
register_model(partial(DenseNet, 32, (6, 12, 24, 16), 64, True), "densenet121_cifar")


@register_model
def densenet_bc_cifar(num_classes: int = 10, depth: int = 100, growth: int = 12) -> nn.Module:
    """DenseNet-BC of the paper's CIFAR runs: three blocks, a stem of 2 growth channels.

    `depth` counts the layers with weights: 6 n + 4. Raises ValueError for another depth.
    """
    if depth < 10 or (depth - 4) % 6:
        raise ValueError(
            f"densenet_bc_cifar has 6 n + 4 layers, which {depth} is not; try 40, 100 or 190"
        )
    return DenseNet(growth, [(depth - 4) // 6] * 3, 2 * growth, True, num_classes)
