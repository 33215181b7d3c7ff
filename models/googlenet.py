"""GoogLeNet (Szegedy et al., 2014, arXiv:1409.4842) with batch norm.

`googlenet` has torchvision's layers and names, thus 3x3 where the paper has 5x5 convolutions;
`googlenet_cifar` puts two 3x3 ones there and has no auxiliary heads.
"""

from __future__ import annotations

from typing import Dict, List, Tuple, Union

import oneflow as flow
from oneflow import nn

from .blocks import ConvNorm
from .initialisation import initialise_he, initialise_truncated_normal
from .registry import register_model

AUX_WEIGHTS = (0.3, 0.3)  # section 5 of the paper

# channels: 1x1; 3x3 reduced, 3x3; 5x5 reduced, 5x5; behind the pooling
_Channels = Tuple[int, int, int, int, int, int]
_STAGES: List[Dict[str, _Channels]] = [
    {"3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64)},
    {
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
    },
    {"5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128)},
]


def _create(
    inputs: int, outputs: int, kernel: int, stride: int = 1, cifar: bool = False
) -> ConvNorm:
    eps = 1e-5 if cifar else 1e-3
    return ConvNorm(inputs, outputs, kernel, stride, kernel // 2, bias=cifar, eps=eps)


class Inception(nn.Module):
    """Four branches side by side, their channels one behind the other; the size stays."""

    def __init__(self, inputs: int, channels: _Channels, cifar: bool) -> None:
        super().__init__()
        first, reduced3, width3, reduced5, width5, pooled = channels
        self.branch1 = _create(inputs, first, 1, cifar=cifar)
        self.branch2 = nn.Sequential(
            _create(inputs, reduced3, 1, cifar=cifar), _create(reduced3, width3, 3, cifar=cifar)
        )
        self.branch3 = nn.Sequential(
            _create(inputs, reduced5, 1, cifar=cifar), _create(reduced5, width5, 3, cifar=cifar)
        )
        if cifar:
            self.branch3.add_module("2", _create(width5, width5, 3, cifar=True))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), _create(inputs, pooled, 1, cifar=cifar))

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        branches = [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)]
        return flow.cat(branches, dim=1)


class AuxiliaryHead(nn.Module):
    """(B, `inputs`, H, W) to (B, num_classes) from the middle of the network."""

    def __init__(self, inputs: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d((4, 4))
        self.conv = _create(inputs, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = flow.flatten(self.conv(self.avgpool(x)), 1)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    """Nine Inception blocks; weights normal with 0.01, truncated at two standard deviations.

    The paper gives no initialisation; this one is its authors' later code's, as in torchvision.
    Input (B, 3, H, W), 224 px as published. Output (B, num_classes); in training with auxiliary
    heads the tuple (logits, aux1, aux2) of that shape each, to be trained with
    CE(logits) + sum of `aux_weights` times CE(aux). `aux_weights` is () without heads.
    """

    def __init__(
        self,
        num_classes: int,
        aux_logits: bool = True,
        dropout: float = 0.2,
        dropout_aux: float = 0.7,
    ) -> None:
        super().__init__()
        self.aux_weights = AUX_WEIGHTS if aux_logits else ()
        self.conv1 = _create(3, 64, 7, stride=2)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = _create(64, 64, 1)
        self.conv3 = _create(64, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        channels = _add_blocks(self, 192, cifar=False)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        if aux_logits:
            self.aux1 = AuxiliaryHead(512, num_classes, dropout_aux)
            self.aux2 = AuxiliaryHead(528, num_classes, dropout_aux)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        initialise_truncated_normal(self, 0.01)

    def forward(self, x: flow.Tensor) -> Union[flow.Tensor, Tuple[flow.Tensor, ...]]:
        x = self.conv3(self.conv2(self.maxpool1(self.conv1(x))))
        x = self.maxpool3(self.inception3b(self.inception3a(self.maxpool2(x))))
        early = self.inception4a(x)
        late = self.inception4d(self.inception4c(self.inception4b(early)))
        x = self.maxpool4(self.inception4e(late))
        x = self.avgpool(self.inception5b(self.inception5a(x)))
        logits = self.fc(self.dropout(flow.flatten(x, 1)))
        if self.training and self.aux_weights:
            return logits, self.aux1(early), self.aux2(late)
        return logits


class GoogLeNetCifar(nn.Module):
    """The nine blocks behind one 3x3 convolution; He initialisation (fan-out).

    Input (B, 3, H, W), 32 px as published; output (B, num_classes).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = _create(3, 192, 3, cifar=True)
        channels = _add_blocks(self, 192, cifar=True)
        self.maxpool3 = nn.MaxPool2d(3, 2, 1)
        self.maxpool4 = nn.MaxPool2d(3, 2, 1)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, num_classes)
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.maxpool3(self.inception3b(self.inception3a(self.conv1(x))))
        x = self.inception4c(self.inception4b(self.inception4a(x)))
        x = self.maxpool4(self.inception4e(self.inception4d(x)))
        x = self.avgpool(self.inception5b(self.inception5a(x)))
        return self.fc(flow.flatten(x, 1))


def _add_blocks(model: nn.Module, inputs: int, cifar: bool) -> int:
    """Add all Inception blocks to `model` by name; returns the channels of the last."""
    for stage in _STAGES:
        for name, channels in stage.items():
            model.add_module(f"inception{name}", Inception(inputs, channels, cifar))
            first, _, width3, _, width5, pooled = channels
            inputs = first + width3 + width5 + pooled
    return inputs


register_model(GoogLeNet, "googlenet")
register_model(GoogLeNetCifar, "googlenet_cifar")


@register_model
def googlenet_noaux(num_classes: int = 1000, dropout: float = 0.2) -> nn.Module:
    """GoogLeNet without auxiliary heads."""
    return GoogLeNet(num_classes, False, dropout)
