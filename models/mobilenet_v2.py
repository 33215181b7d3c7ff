"""MobileNet v2 (Sandler et al., 2018, arXiv:1801.04381).

`mobilenet_v2` has torchvision's layers and names. `mobilenet_v2_cifar` is the variant that code for
32 px images uses: a 1x1 stem of stride 1, three halvings (at 24, 32 and 64 channels), biases in all
convolutions, a widening convolution in the first block too, and a convolution as classifier.
"""

from __future__ import annotations

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


class InvertedResidual(nn.Module):
    """Widen by `expansion`, convolve each channel by itself, narrow; a shortcut where sizes agree.

    `always_expand` keeps the widening convolution even for an expansion of 1; `bias` gives all
    convolutions one.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        expansion: int,
        always_expand: bool = False,
        bias: bool = False,
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        layers: List[nn.Module] = []
        if expansion != 1 or always_expand:
            layers.append(_create_conv_norm6(inputs, inner, 1, bias=bias))
        layers.append(_create_conv_norm6(inner, inner, 3, stride, inner, bias))
        layers += [nn.Conv2d(inner, outputs, 1, bias=bias), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self._shortcut = stride == 1 and inputs == outputs

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return x + self.conv(x) if self._shortcut else self.conv(x)


def _create_conv_norm6(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Sequential:
    if not bias:
        return create_conv_norm(inputs, outputs, kernel, stride, groups, activation=nn.ReLU6)
    convolution = nn.Conv2d(
        inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6())


class MobileNetV2(nn.Module):
    """Input (B, 3, H, W); output (B, num_classes).

    He initialisation (fan-out), linear N(0, 0.01), as in torchvision; the paper gives none.
    """

    def __init__(self, num_classes: int, dropout: float) -> None:
        super().__init__()
        layers: List[nn.Module] = [_create_conv_norm6(3, 32, 3, stride=2)]
        inputs = 32
        for expansion, outputs, blocks, first_stride in _STAGES:
            for number in range(blocks):
                stride = first_stride if number == 0 else 1
                layers.append(InvertedResidual(inputs, outputs, stride, expansion))
                inputs = outputs
        layers.append(_create_conv_norm6(inputs, _LAST_CHANNELS, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(_LAST_CHANNELS, num_classes))
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.classifier(flow.flatten(self.avgpool(self.features(x)), 1))


class MobileNetV2Cifar(nn.Module):
    """Input (B, 3, H, W), 32 px as published; output (B, num_classes); He initialisation."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: List[nn.Module] = [_create_conv_norm6(3, 32, 1, bias=True)]
        inputs = 32
        for expansion, outputs, blocks, first_stride in _STAGES:
            for number in range(blocks):
                # the halving before 160 channels would leave 2 px of 32
                stride = first_stride if number == 0 and outputs != 160 else 1
                layers.append(InvertedResidual(inputs, outputs, stride, expansion, True, True))
                inputs = outputs
        layers.append(_create_conv_norm6(inputs, _LAST_CHANNELS, 1, bias=True))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Conv2d(_LAST_CHANNELS, num_classes, 1)
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return flow.flatten(self.classifier(self.avgpool(self.features(x))), 1)


@register_model
def mobilenet_v2(num_classes: int = 1000, dropout: float = 0.2) -> nn.Module:
    return MobileNetV2(num_classes, dropout)


@register_model
def mobilenet_v2_cifar(num_classes: int = 10) -> nn.Module:
    return MobileNetV2Cifar(num_classes)
