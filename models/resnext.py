"""ResNeXt (Xie et al., 2016, arXiv:1611.05431): ResNet with grouped convolutions.

`resnext50_32x4d` has torchvision's layers and names; `resnext29_8x64d` is the paper's CIFAR model,
three stages of three blocks. He initialisation (fan-out), as for ResNet.
"""

from __future__ import annotations

from functools import partial

from .registry import register_model
from .resnet import Bottleneck, ResNet

_WIDE_GROUPS = {"groups": 8, "width_per_group": 64}
_MANY_GROUPS = {"groups": 32, "width_per_group": 4}
register_model(partial(ResNet, Bottleneck, [3, 4, 6, 3], False, _MANY_GROUPS), "resnext50_32x4d")
register_model(partial(ResNet, Bottleneck, [3, 3, 3], True, _WIDE_GROUPS), "resnext29_8x64d")
