"""Wide ResNet (Zagoruyko and Komodakis, 2016, arXiv:1605.07146).

`wide_resnet_cifar` is the paper's network for 32 px. It is WRN-28-10 unless `depth` and
`widen_factor` say otherwise. `wide_resnet50_2` has torchvision's layers and names. It is ResNet-50
with 3x3 convolutions of twice the width.
"""

from __future__ import annotations

from functools import partial

import oneflow as flow
from oneflow import nn

from .initialisation import initialise_he
from .registry import register_model
from .resnet import Bottleneck, ResNet

_WIDTHS = (16, 32, 64)  # of the stages, times the widen factor


class WideBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, dropout between them; a shortcut.

    A shortcut between other widths is a 1x1 convolution of the normalised input.
    """

    def __init__(self, inputs: int, width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self._widens = inputs != width
        if self._widens:
            self.shortcut = nn.Conv2d(inputs, width, 1, stride=stride, bias=False)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        active = self.relu(self.bn1(x))
        shortcut = self.shortcut(active) if self._widens else x
        inner = self.dropout(self.relu(self.bn2(self.conv1(active))))
        return self.conv2(inner) + shortcut


class WideResNetCifar(nn.Module):
    """6 n + 4 layers in three stages of n blocks. ValueError for another `depth`.

    Input (B, 3, H, W), 32 px as published; output (B, num_classes). He initialisation (fan-out), as
    in the authors' code.
    """

    def __init__(
        self, num_classes: int, depth: int = 28, widen_factor: int = 10, dropout: float = 0.0
    ) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise ValueError(f"it has 6 n + 4 layers, which {depth} is not; give 16, 28, 40 ...")
        inputs = _WIDTHS[0]
        self.conv1 = nn.Conv2d(3, inputs, 3, padding=1, bias=False)
        stages = []
        for number, width in enumerate(_WIDTHS):
            for block in range(blocks):
                stride = 2 if number > 0 and block == 0 else 1
                stages.append(WideBlock(inputs, width * widen_factor, stride, dropout))
                inputs = width * widen_factor
        self.blocks = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inputs, num_classes)
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.relu(self.bn(self.blocks(self.conv1(x))))
        return self.fc(flow.flatten(self.avgpool(x), 1))


register_model(WideResNetCifar, "wide_resnet_cifar")
register_model(
    partial(ResNet, Bottleneck, [3, 4, 6, 3], False, {"width_per_group": 128}), "wide_resnet50_2"
)
