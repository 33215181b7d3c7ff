"""Layers that several families share."""

from __future__ import annotations

from typing import Callable, List, Optional

import oneflow as flow
from oneflow import nn


def create_conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    activation: Optional[Callable[[], nn.Module]] = nn.ReLU,
) -> nn.Sequential:
    """Convolution with half padding and without bias (0), normalisation (1), activation (2)."""
    layers: List[nn.Module] = [
        nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        ),
        norm(outputs),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


class SqueezeExcitation(nn.Module):
    """Hu et al. 2017 (arXiv:1709.01507): scale each channel by a gate computed from all of them.

    Input and output (B, `channels`, H, W).
    """

    def __init__(
        self,
        channels: int,
        squeezed: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = activation()
        self.scale_activation = gate()

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        scale = self.activation(self.fc1(self.avgpool(x)))
        return x * self.scale_activation(self.fc2(scale))


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, at most 10 % below `channels` (MobileNet's rounding)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
