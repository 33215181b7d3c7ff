"""MobileNet v3 (Howard et al., 2019, arXiv:1905.02244), layers and names as torchvision's."""

from __future__ import annotations

from functools import partial
from typing import List, NamedTuple

import oneflow as flow
from oneflow import nn

from .blocks import SqueezeExcitation, create_conv_norm, make_divisible
from .initialisation import initialise_he
from .registry import register_model

_BatchNorm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class _Row(NamedTuple):
    """A row of the paper's tables 1 and 2."""

    kernel: int
    expanded: int
    outputs: int
    squeeze: bool
    activation: str  # RE: ReLU, HS: hard swish
    stride: int


_LARGE = [
    _Row(3, 16, 16, False, "RE", 1),
    _Row(3, 64, 24, False, "RE", 2),
    _Row(3, 72, 24, False, "RE", 1),
    _Row(5, 72, 40, True, "RE", 2),
    _Row(5, 120, 40, True, "RE", 1),
    _Row(5, 120, 40, True, "RE", 1),
    _Row(3, 240, 80, False, "HS", 2),
    _Row(3, 200, 80, False, "HS", 1),
    _Row(3, 184, 80, False, "HS", 1),
    _Row(3, 184, 80, False, "HS", 1),
    _Row(3, 480, 112, True, "HS", 1),
    _Row(3, 672, 112, True, "HS", 1),
    _Row(5, 672, 160, True, "HS", 2),
    _Row(5, 960, 160, True, "HS", 1),
    _Row(5, 960, 160, True, "HS", 1),
]
_SMALL = [
    _Row(3, 16, 16, True, "RE", 2),
    _Row(3, 72, 24, False, "RE", 2),
    _Row(3, 88, 24, False, "RE", 1),
    _Row(5, 96, 40, True, "HS", 2),
    _Row(5, 240, 40, True, "HS", 1),
    _Row(5, 240, 40, True, "HS", 1),
    _Row(5, 120, 48, True, "HS", 1),
    _Row(5, 144, 48, True, "HS", 1),
    _Row(5, 288, 96, True, "HS", 2),
    _Row(5, 576, 96, True, "HS", 1),
    _Row(5, 576, 96, True, "HS", 1),
]


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, gate, narrow; a shortcut where sizes agree."""

    def __init__(self, inputs: int, row: _Row) -> None:
        super().__init__()
        activation = nn.ReLU if row.activation == "RE" else nn.Hardswish
        create = partial(create_conv_norm, norm=_BatchNorm, activation=activation)
        layers: List[nn.Module] = []
        if row.expanded != inputs:
            layers.append(create(inputs, row.expanded, 1))
        layers.append(create(row.expanded, row.expanded, row.kernel, row.stride, row.expanded))
        if row.squeeze:
            squeezed = make_divisible(row.expanded / 4)
            layers.append(SqueezeExcitation(row.expanded, squeezed, gate=nn.Hardsigmoid))
        layers.append(create(row.expanded, row.outputs, 1, activation=None))
        self.block = nn.Sequential(*layers)
        self._shortcut = row.stride == 1 and inputs == row.outputs

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return x + self.block(x) if self._shortcut else self.block(x)


class MobileNetV3(nn.Module):
    """Input (B, 3, H, W); output (B, num_classes).

    He initialisation (fan-out), linear N(0, 0.01), as in torchvision; the paper gives none.
    """

    def __init__(self, rows: List[_Row], hidden: int, num_classes: int, dropout: float = 0.2):
        super().__init__()
        create = partial(create_conv_norm, norm=_BatchNorm, activation=nn.Hardswish)
        inputs = rows[0].outputs
        layers: List[nn.Module] = [create(3, inputs, 3, 2)]
        for row in rows:
            layers.append(InvertedResidual(inputs, row))
            inputs = row.outputs
        last = 6 * inputs
        layers.append(create(inputs, last, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Sequential(
            nn.Linear(last, hidden),
            nn.Hardswish(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.classifier(flow.flatten(self.avgpool(self.features(x)), 1))


register_model(partial(MobileNetV3, _SMALL, 1024), "mobilenet_v3_small")
register_model(partial(MobileNetV3, _LARGE, 1280), "mobilenet_v3_large")
