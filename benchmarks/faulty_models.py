"""A model for faults that the zoo's small models have no place for."""

from __future__ import annotations

import oneflow as flow
from oneflow import nn


class SiluNet(nn.Module):
    """Three convolutions with SiLU, which unlike ReLU is not the same when taken twice."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1, self.act1 = nn.Conv2d(3, 8, 3, padding=1), nn.SiLU()
        self.conv2, self.act2 = nn.Conv2d(8, 8, 3, padding=1), nn.SiLU()
        self.conv3, self.act3 = nn.Conv2d(8, 8, 3, padding=1), nn.SiLU()
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.act1(self.conv1(x))
        x = self.act2(self.conv2(x))
        x = self.act3(self.conv3(x))
        return self.fc(flow.flatten(self.avgpool(x), 1))


def silu_net(num_classes: int = 10) -> nn.Module:
    """1,482 parameters at 10 classes."""
    return SiluNet(num_classes)
