"""ResNet (He et al., 2015, arXiv:1512.03385), layers and names as torchvision's.

As there, the stride of a bottleneck is in its 3x3 convolution. The `_cifar` models have the same
stages behind a 3x3 convolution of stride 1 and no pooling. `resnext.py` is made of the same blocks.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, List, Optional, Tuple, Type, Union

import oneflow as flow
from oneflow import nn

from .initialisation import initialise_he
from .registry import register_model


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, downsample: Optional[nn.Module]):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 (in `groups`, `width_per_group` for 64 channels) and 1x1 convolutions, shortcut."""

    expansion = 4

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        downsample: Optional[nn.Module],
        groups: int = 1,
        width_per_group: int = 64,
    ):
        super().__init__()
        inner = width * width_per_group // 64 * groups
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)


Block = Union[Type[BasicBlock], Type[Bottleneck]]


class ResNet(nn.Module):
    """Stages of blocks, each twice as wide as the one before; He initialisation (fan-out).

    Input (B, 3, H, W); output (B, num_classes). `block_arguments` go to each block.
    """

    def __init__(
        self,
        block: Block,
        depths: List[int],
        cifar_stem: bool,
        block_arguments: Dict[str, int],
        num_classes: int,
    ) -> None:
        super().__init__()
        if cifar_stem:
            self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if cifar_stem else nn.MaxPool2d(3, 2, 1)
        self._stages = [f"layer{number}" for number in range(1, len(depths) + 1)]
        inputs = 64
        for number, (name, depth) in enumerate(zip(self._stages, depths)):
            width = 64 * 2**number
            stride = 1 if number == 0 else 2
            stage = _create_stage(block, inputs, width, depth, stride, block_arguments)
            self.add_module(name, stage)
            inputs = width * block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inputs, num_classes)
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self._stages:
            x = getattr(self, name)(x)
        return self.fc(flow.flatten(self.avgpool(x), 1))


def _create_stage(
    block: Block, inputs: int, width: int, depth: int, stride: int, block_arguments: Dict[str, int]
) -> nn.Module:
    outputs = width * block.expansion
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
        )
    blocks = [block(inputs, width, stride, downsample, **block_arguments)]
    blocks += [block(outputs, width, 1, None, **block_arguments) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


_DEPTHS: Dict[str, Tuple[Block, List[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet152": (Bottleneck, [3, 8, 36, 3]),
}
for _name, _shape in _DEPTHS.items():
    register_model(partial(ResNet, *_shape, False, {}), _name)
    register_model(partial(ResNet, *_shape, True, {}), f"{_name}_cifar")
