"""Small models of a user for `--model door_models:NAME`, faithful and not."""

from __future__ import annotations

from typing import Any

import oneflow as flow
from oneflow import nn


def plain(num_classes: int = 10, dropout: float = 0.0) -> Any:
    """A convolution, batch norm and two linear layers, for images of 3 x 16 x 16."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, 32),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(32, num_classes),
    )


def dropped(num_classes: int = 10) -> Any:
    """With dropout, which draws the same masks in both modes."""
    return plain(num_classes, 0.5)


class _Counts(nn.Module):
    """Python state in forward: a graph keeps its first value."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.calls = 0

    def forward(self, images: flow.Tensor) -> flow.Tensor:
        self.calls += self.training
        return self.body(images) * (1.0 if self.calls < 2 else 1.05)


def counting(num_classes: int = 10) -> Any:
    """Not the same model as a graph, from the second step on."""
    return _Counts(plain(num_classes))
