"""Layers that several families share."""

from __future__ import annotations

from typing import Callable, Optional, Tuple, Union

import oneflow as flow
from oneflow import nn

Size = Union[int, Tuple[int, int]]


def create_conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    padding: Optional[int] = None,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    activation: Optional[Callable[[], nn.Module]] = nn.ReLU,
) -> nn.Sequential:
    """Convolution (0), normalisation (1), activation (2); padding by half the kernel if None."""
    padding = kernel // 2 if padding is None else padding
    convolution = nn.Conv2d(
        inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias=bias
    )
    layers = [convolution, norm(outputs), *([] if activation is None else [activation()])]
    return nn.Sequential(*layers)


class ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU, by the names of torchvision's Inception models."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Size,
        stride: int = 1,
        padding: Size = 0,
        bias: bool = False,
        eps: float = 0.001,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=bias)
        self.bn = nn.BatchNorm2d(outputs, eps=eps)
        self.relu = nn.ReLU()

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.relu(self.bn(self.conv(x)))


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
