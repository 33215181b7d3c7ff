"""Own models that a test's processes train, each of which no pipeline can be made of."""

from __future__ import annotations

import oneflow as flow
from oneflow import nn


class Skipping(nn.Module):
    """Adds what its first layer gave to what its last did, so that no cut can be between them."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d((4, 4))
        self.first = nn.Linear(48, 48)
        self.second = nn.Linear(48, 48)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        first = self.first(flow.flatten(self.pool(x), 1))
        return first + self.second(first)


class Scaled(nn.Module):
    """Has a parameter of its own beside its children."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d((4, 4))
        self.linear = nn.Linear(48, num_classes)
        self.scale = nn.Parameter(flow.ones(1))

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.linear(flow.flatten(self.pool(x), 1)) * self.scale


class Single(nn.Module):
    """Has one child."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3072, num_classes)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.linear(flow.flatten(x, 1))


def skipping(num_classes: int) -> nn.Module:
    return Skipping(num_classes)


def scaled(num_classes: int) -> nn.Module:
    return Scaled(num_classes)


def single(num_classes: int) -> nn.Module:
    return Single(num_classes)
