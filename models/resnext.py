"""ResNeXt (Xie et al., 2016, arXiv:1611.05431): ResNet with grouped convolutions.

`resnext50_32x4d` has torchvision's layers and names; `resnext29_8x64d` is the paper's CIFAR model,
three stages of three blocks. He initialisation (fan-out), as for ResNet.
"""

from __future__ import annotations

from oneflow import nn

from .registry import register_model
from .resnet import Bottleneck, ResNet


@register_model
def resnext50_32x4d(num_classes: int = 1000) -> nn.Module:
    return ResNet(Bottleneck, [3, 4, 6, 3], num_classes, groups=32, width_per_group=4)


@register_model
def resnext29_8x64d(num_classes: int = 10) -> nn.Module:
    return ResNet(Bottleneck, [3, 3, 3], num_classes, cifar_stem=True, groups=8, width_per_group=64)
