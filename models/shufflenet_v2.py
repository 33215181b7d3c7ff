"""ShuffleNet v2 (Ma et al., 2018, arXiv:1807.11164) of width 1.

`shufflenet_v2_x1_0` has torchvision's layers and names. `shufflenet_v2_cifar` is the variant that
code for 32 px images uses: a stem of stride 1 without pooling, biases in all convolutions, and in a
unit that halves the size a first convolution as wide as its input.
"""

from __future__ import annotations

from functools import partial

import oneflow as flow
from oneflow import nn

from .blocks import create_conv_norm
from .initialisation import initialise_he
from .registry import register_model

_STEM_CHANNELS = 24
_STAGES = [("stage2", 4, 116), ("stage3", 8, 232), ("stage4", 4, 464)]  # name, units, channels
_LAST_CHANNELS = 1024


def shuffle_channels(x: flow.Tensor) -> flow.Tensor:
    """Channels of the first and the second half of (B, C, H, W) by turns."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, 2, channels // 2, height, width).transpose(1, 2)
    return x.reshape(batch, channels, height, width)


class ShuffleUnit(nn.Module):
    """With stride 1 half of the channels pass unchanged; with 2 both branches halve the size."""

    def __init__(self, inputs: int, outputs: int, stride: int, cifar: bool) -> None:
        super().__init__()
        half = outputs // 2
        self._splits = stride == 1
        entering = half if self._splits else inputs
        inner = inputs if cifar and not self._splits else half
        create = partial(create_conv_norm, bias=cifar)
        self.branch1 = nn.Sequential()
        if not self._splits:
            self.branch1 = nn.Sequential(
                *create(inputs, inputs, 3, stride, inputs, activation=None), *create(inputs, half)
            )
        self.branch2 = nn.Sequential(
            *create(entering, inner),
            *create(inner, inner, 3, stride, inner, activation=None),
            *create(inner, half),
        )

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        if self._splits:
            kept, taken = x.chunk(2, dim=1)
        else:
            kept, taken = self.branch1(x), x
        return shuffle_channels(flow.cat([kept, self.branch2(taken)], dim=1))


class ShuffleNetV2(nn.Module):
    """Input (B, 3, H, W); output (B, num_classes).

    He initialisation (fan-out), linear N(0, 0.01); the paper gives none.
    """

    def __init__(self, cifar: bool, num_classes: int) -> None:
        super().__init__()
        self.conv1 = create_conv_norm(3, _STEM_CHANNELS, 3, 1 if cifar else 2, bias=cifar)
        self.maxpool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1)
        inputs = _STEM_CHANNELS
        for name, units, outputs in _STAGES:
            stage = [ShuffleUnit(inputs, outputs, 2, cifar)]
            stage += [ShuffleUnit(outputs, outputs, 1, cifar) for _ in range(units - 1)]
            self.add_module(name, nn.Sequential(*stage))
            inputs = outputs
        self.conv5 = create_conv_norm(inputs, _LAST_CHANNELS, bias=cifar)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(_LAST_CHANNELS, num_classes)
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.maxpool(self.conv1(x))
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        return self.fc(flow.flatten(self.avgpool(x), 1))


register_model(partial(ShuffleNetV2, False), "shufflenet_v2_x1_0")
register_model(partial(ShuffleNetV2, True), "shufflenet_v2_cifar")
