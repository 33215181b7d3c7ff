"""VGG (Simonyan and Zisserman, 2014, arXiv:1409.1556), layers and names as torchvision's.

The `_cifar` models have one linear layer behind the convolutions instead of three. Initialisation
as torchvision's, He et al. 2015 (arXiv:1502.01852); the paper drew weights with a variance of 0.01
and started its deep models from trained shallow ones.
"""

from __future__ import annotations

from functools import partial
from typing import Dict, List, Union

import oneflow as flow
from oneflow import nn

from .initialisation import initialise_he
from .registry import register_model

# channels of the 3x3 convolutions by depth; "M" is a 2x2 max pooling
_LAYERS: Dict[int, List[Union[int, str]]] = {
    11: [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    13: [64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
    16: [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"],
    19: [64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M"],
}


class VGG(nn.Module):
    """Convolutions by `_LAYERS`, three linear layers; He initialisation, linear N(0, 0.01).

    Input (B, 3, H, W) with H and W at least 32; output (B, num_classes).
    """

    def __init__(self, depth: int, batch_norm: bool, num_classes: int, dropout: float = 0.5):
        super().__init__()
        self.features = nn.Sequential(*_create_features(depth, batch_norm))
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(flow.flatten(x, 1))


class VGGCifar(nn.Module):
    """The convolutions and one linear layer; He initialisation, linear N(0, 0.01).

    Input (B, 3, H, W) with H and W at least 32; output (B, num_classes).
    """

    def __init__(self, depth: int, batch_norm: bool, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*_create_features(depth, batch_norm))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))  # the identity at 32 px
        self.classifier = nn.Linear(512, num_classes)
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.classifier(flow.flatten(self.avgpool(self.features(x)), 1))


def _create_features(depth: int, batch_norm: bool) -> List[nn.Module]:
    layers: List[nn.Module] = []
    channels = 3
    for item in _LAYERS[depth]:
        if isinstance(item, str):
            layers.append(nn.MaxPool2d(2, 2))
            continue
        layers.append(nn.Conv2d(channels, item, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(item))
        layers.append(nn.ReLU())
        channels = item
    return layers


for _depth in _LAYERS:
    for _suffix, _batch_norm in {"": False, "_bn": True}.items():
        register_model(partial(VGG, _depth, _batch_norm), f"vgg{_depth}{_suffix}")
        register_model(partial(VGGCifar, _depth, _batch_norm), f"vgg{_depth}{_suffix}_cifar")
