"""The thin ResNets of He et al. 2015 (arXiv:1512.03385), section 4.2, for 32 px images.

6 n + 2 layers in three stages of 16, 32 and 64 channels. Where the width grows, `resnetN` has a 1x1
convolution with batch norm in the shortcut (the paper's option B); `resnetN_optionA` takes every
other pixel and fills up the channels with zeros, without parameters, as in the paper's CIFAR runs.
"""

from __future__ import annotations

from functools import partial

import oneflow as flow
from oneflow import nn

from .initialisation import initialise_he
from .registry import register_model
from .resnet import BasicBlock

_WIDTHS = (16, 32, 64)


class PaddedShortcut(nn.Module):
    """(B, C, H, W) to (B, C + `added`, ceil(H / 2), ceil(W / 2)); the added channels are zero."""

    def __init__(self, added: int) -> None:
        super().__init__()
        self._added = added

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self._added))


class ThinResNet(nn.Module):
    """Input (B, 3, H, W), 32 px as published; output (B, num_classes); He initialisation."""

    def __init__(self, num_layers: int, padded_shortcut: bool, num_classes: int) -> None:
        super().__init__()
        depth = (num_layers - 2) // 6
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU()
        self.layer1 = _create_stage(_WIDTHS[0], _WIDTHS[0], depth, padded_shortcut)
        self.layer2 = _create_stage(_WIDTHS[0], _WIDTHS[1], depth, padded_shortcut)
        self.layer3 = _create_stage(_WIDTHS[1], _WIDTHS[2], depth, padded_shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(_WIDTHS[2], num_classes)
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(flow.flatten(self.avgpool(x), 1))


def _create_stage(inputs: int, width: int, depth: int, padded_shortcut: bool) -> nn.Sequential:
    if inputs == width:
        first = BasicBlock(inputs, width, 1, None)
    elif padded_shortcut:
        first = BasicBlock(inputs, width, 2, PaddedShortcut(width - inputs))
    else:
        projection = nn.Conv2d(inputs, width, 1, stride=2, bias=False)
        first = BasicBlock(inputs, width, 2, nn.Sequential(projection, nn.BatchNorm2d(width)))
    return nn.Sequential(first, *[BasicBlock(width, width, 1, None) for _ in range(depth - 1)])


for _num_layers in (20, 26, 32, 44, 56, 110):
    register_model(partial(ThinResNet, _num_layers, False), f"resnet{_num_layers}")
    register_model(partial(ThinResNet, _num_layers, True), f"resnet{_num_layers}_optionA")
