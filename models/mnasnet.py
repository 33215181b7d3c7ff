"""MnasNet B1 (Tan et al., 2018, arXiv:1807.11626), layers and names as torchvision's."""

from __future__ import annotations

from functools import partial

import oneflow as flow
from oneflow import nn

from .blocks import create_conv_norm
from .initialisation import initialise_he
from .registry import register_model

_BatchNorm = partial(nn.BatchNorm2d, momentum=1 - 0.9997)
_create_conv_norm = partial(create_conv_norm, norm=_BatchNorm)

# channels, kernel, stride of the first block, expansion, blocks
_STACKS = [
    (24, 3, 2, 3, 3),
    (40, 5, 2, 3, 3),
    (80, 5, 2, 6, 3),
    (96, 3, 1, 6, 2),
    (192, 5, 2, 6, 4),
    (320, 3, 1, 6, 1),
]
_LAST_CHANNELS = 1280


class InvertedResidual(nn.Module):
    """Widen by `expansion`, convolve channel by channel, narrow; a shortcut where sizes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.layers = nn.Sequential(
            *_create_conv_norm(inputs, inner, 1),
            *_create_conv_norm(inner, inner, kernel, stride, inner),
            *_create_conv_norm(inner, outputs, activation=None),
        )
        self._shortcut = stride == 1 and inputs == outputs

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return x + self.layers(x) if self._shortcut else self.layers(x)


class MnasNet(nn.Module):
    """Input (B, 3, H, W); output (B, num_classes).

    He initialisation (fan-out), linear N(0, 0.01); the paper gives none.
    """

    def __init__(self, num_classes: int, dropout: float = 0.2) -> None:
        super().__init__()
        layers = [
            *_create_conv_norm(3, 32, 3, stride=2),
            *_create_conv_norm(32, 32, 3, groups=32),
            *_create_conv_norm(32, 16, activation=None),
        ]
        inputs = 16
        for outputs, kernel, first_stride, expansion, blocks in _STACKS:
            stack = []
            for number in range(blocks):
                stride = first_stride if number == 0 else 1
                stack.append(InvertedResidual(inputs, outputs, kernel, stride, expansion))
                inputs = outputs
            layers.append(nn.Sequential(*stack))
        layers += [*_create_conv_norm(inputs, _LAST_CHANNELS)]
        self.layers = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(_LAST_CHANNELS, num_classes))
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.classifier(flow.flatten(self.avgpool(self.layers(x)), 1))


register_model(MnasNet, "mnasnet1_0")
