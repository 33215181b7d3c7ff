"""MobileNet v2 (Sandler et al., 2018, arXiv:1801.04381).

`mobilenet_v2` has torchvision's layers and names. `mobilenet_v2_cifar` is the variant that code for
32 px images uses: a 1x1 stem of stride 1, three halvings (at 24, 32 and 64 channels), biases in all
convolutions, a widening convolution in the first block too, and a convolution as classifier.
"""

from __future__ import annotations

from functools import partial
from typing import List

import oneflow as flow
from oneflow import nn

from .blocks import create_conv_norm
from .initialisation import initialise_he
from .registry import register_model

# expansion, channels, blocks, stride of the first block
_STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]
_LAST_CHANNELS = 1280
_create_conv_norm6 = partial(create_conv_norm, activation=nn.ReLU6)


class InvertedResidual(nn.Module):
    """Widen by `expansion`, convolve each channel by itself, narrow; a shortcut where sizes agree.

    With `cifar` the first block widens too, and all convolutions have a bias.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, cifar: bool) -> None:
        super().__init__()
        inner = inputs * expansion
        layers: List[nn.Module] = []
        if expansion != 1 or cifar:
            layers.append(_create_conv_norm6(inputs, inner, 1, bias=cifar))
        layers.append(_create_conv_norm6(inner, inner, 3, stride, inner, cifar))
        layers += [nn.Conv2d(inner, outputs, 1, bias=cifar), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self._shortcut = stride == 1 and inputs == outputs

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return x + self.conv(x) if self._shortcut else self.conv(x)


def _create_features(cifar: bool) -> nn.Sequential:
    stem = (1, 1) if cifar else (3, 2)  # kernel and stride
    layers: List[nn.Module] = [_create_conv_norm6(3, 32, *stem, bias=cifar)]
    inputs = 32
    for expansion, outputs, blocks, first_stride in _STAGES:
        if cifar and outputs == 160:
            first_stride = 1  # another halving would leave 2 px of 32
        for number in range(blocks):
            stride = first_stride if number == 0 else 1
            layers.append(InvertedResidual(inputs, outputs, stride, expansion, cifar))
            inputs = outputs
    return nn.Sequential(*layers, _create_conv_norm6(inputs, _LAST_CHANNELS, bias=cifar))


class MobileNetV2(nn.Module):
    """Input (B, 3, H, W); output (B, num_classes).

    He initialisation (fan-out), linear N(0, 0.01), as in torchvision; the paper gives none.
    """

    def __init__(self, num_classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.features = _create_features(cifar=False)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(_LAST_CHANNELS, num_classes))
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.classifier(flow.flatten(self.avgpool(self.features(x)), 1))


class MobileNetV2Cifar(nn.Module):
    """Input (B, 3, H, W), 32 px as published; output (B, num_classes); He initialisation."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = _create_features(cifar=True)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Conv2d(_LAST_CHANNELS, num_classes, 1)
        initialise_he(self)
        # a linear layer in all but its kind: by its fan-out the first loss would be 12, not ln(10)
        nn.init.normal_(self.classifier.weight, 0.0, 0.01)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return flow.flatten(self.classifier(self.avgpool(self.features(x))), 1)


register_model(MobileNetV2, "mobilenet_v2")
register_model(MobileNetV2Cifar, "mobilenet_v2_cifar")
