"""ResNeXt (Xie et al., 2016, arXiv:1611.05431): ResNet with grouped convolutions.

`resnext50_32x4d` and `resnext101_32x8d` have torchvision's layers and names. `resnext29_8x64d` is
the paper's CIFAR model, three stages of three blocks. `resnext101_8x64d` has eleven in each, as n
blocks a stage are 9 n + 2 layers. He initialisation (fan-out), as for ResNet.
"""

from __future__ import annotations

from functools import partial

from .registry import register_model
from .resnet import Bottleneck, ResNet

_IMAGENET = {
    "resnext50_32x4d": ([3, 4, 6, 3], {"groups": 32, "width_per_group": 4}),
    "resnext101_32x8d": ([3, 4, 23, 3], {"groups": 32, "width_per_group": 8}),
}
_CIFAR = {"resnext29_8x64d": 3, "resnext101_8x64d": 11}  # blocks of a stage
for _name, _shape in _IMAGENET.items():
    register_model(partial(ResNet, Bottleneck, _shape[0], False, _shape[1]), _name)
for _name, _blocks in _CIFAR.items():
    _groups = {"groups": 8, "width_per_group": 64}
    register_model(partial(ResNet, Bottleneck, [_blocks] * 3, True, _groups), _name)
