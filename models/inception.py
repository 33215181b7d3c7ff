"""Inception v3 (Szegedy et al., 2015, arXiv:1512.00567), layers and names as torchvision's."""

from __future__ import annotations

from typing import Tuple, Union

import oneflow as flow
from oneflow import nn

from .blocks import ConvNorm
from .initialisation import initialise_truncated_normal
from .registry import register_model

AUX_WEIGHTS = (0.4,)  # of the authors' released code; the paper gives no number


def _along_width(inputs: int, outputs: int, length: int) -> ConvNorm:
    return ConvNorm(inputs, outputs, (1, length), padding=(0, length // 2))


def _along_height(inputs: int, outputs: int, length: int) -> ConvNorm:
    return ConvNorm(inputs, outputs, (length, 1), padding=(length // 2, 0))


class InceptionA(nn.Module):
    """The paper's figure 5; the size stays, channels to 224 + `pooled`."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNorm(inputs, 64, 1)
        self.branch5x5_1 = ConvNorm(inputs, 48, 1)
        self.branch5x5_2 = ConvNorm(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = ConvNorm(inputs, 64, 1)
        self.branch3x3dbl_2 = ConvNorm(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvNorm(96, 96, 3, padding=1)
        self.avgpool = nn.AvgPool2d(3, 1, 1)
        self.branch_pool = ConvNorm(inputs, pooled, 1)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        doubled = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branches = [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3dbl_3(doubled),
            self.branch_pool(self.avgpool(x)),
        ]
        return flow.cat(branches, dim=1)


class InceptionB(nn.Module):
    """Figure 10: half the size, 480 more channels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = ConvNorm(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = ConvNorm(inputs, 64, 1)
        self.branch3x3dbl_2 = ConvNorm(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = ConvNorm(96, 96, 3, stride=2)
        self.maxpool = nn.MaxPool2d(3, 2)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        doubled = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return flow.cat([self.branch3x3(x), doubled, self.maxpool(x)], dim=1)


class InceptionC(nn.Module):
    """Figure 6: 7x7 convolutions as 1x7 and 7x1 ones of `width` channels; 768 channels out."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNorm(inputs, 192, 1)
        self.branch7x7_1 = ConvNorm(inputs, width, 1)
        self.branch7x7_2 = _along_width(width, width, 7)
        self.branch7x7_3 = _along_height(width, 192, 7)
        self.branch7x7dbl_1 = ConvNorm(inputs, width, 1)
        self.branch7x7dbl_2 = _along_height(width, width, 7)
        self.branch7x7dbl_3 = _along_width(width, width, 7)
        self.branch7x7dbl_4 = _along_height(width, width, 7)
        self.branch7x7dbl_5 = _along_width(width, 192, 7)
        self.avgpool = nn.AvgPool2d(3, 1, 1)
        self.branch_pool = ConvNorm(inputs, 192, 1)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        doubled = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        branches = [
            self.branch1x1(x),
            self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
            self.branch7x7dbl_5(self.branch7x7dbl_4(doubled)),
            self.branch_pool(self.avgpool(x)),
        ]
        return flow.cat(branches, dim=1)


class InceptionD(nn.Module):
    """Half the size, 512 more channels."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = ConvNorm(inputs, 192, 1)
        self.branch3x3_2 = ConvNorm(192, 320, 3, stride=2)
        self.branch7x7x3_1 = ConvNorm(inputs, 192, 1)
        self.branch7x7x3_2 = _along_width(192, 192, 7)
        self.branch7x7x3_3 = _along_height(192, 192, 7)
        self.branch7x7x3_4 = ConvNorm(192, 192, 3, stride=2)
        self.maxpool = nn.MaxPool2d(3, 2)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        long = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        branches = [
            self.branch3x3_2(self.branch3x3_1(x)),
            self.branch7x7x3_4(long),
            self.maxpool(x),
        ]
        return flow.cat(branches, dim=1)


class InceptionE(nn.Module):
    """Figure 7: 1x3 and 3x1 side by side; 2048 channels out."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNorm(inputs, 320, 1)
        self.branch3x3_1 = ConvNorm(inputs, 384, 1)
        self.branch3x3_2a = _along_width(384, 384, 3)
        self.branch3x3_2b = _along_height(384, 384, 3)
        self.branch3x3dbl_1 = ConvNorm(inputs, 448, 1)
        self.branch3x3dbl_2 = ConvNorm(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _along_width(384, 384, 3)
        self.branch3x3dbl_3b = _along_height(384, 384, 3)
        self.avgpool = nn.AvgPool2d(3, 1, 1)
        self.branch_pool = ConvNorm(inputs, 192, 1)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        single = self.branch3x3_1(x)
        doubled = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branches = [
            self.branch1x1(x),
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(doubled),
            self.branch3x3dbl_3b(doubled),
            self.branch_pool(self.avgpool(x)),
        ]
        return flow.cat(branches, dim=1)


class AuxiliaryHead(nn.Module):
    """(B, 768, H, W), H and W at least 17, to (B, num_classes) from the middle of the network."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.avgpool = nn.AvgPool2d(5, 3)
        self.conv0 = ConvNorm(768, 128, 1)
        self.conv1 = ConvNorm(128, 768, 5)
        self.lastpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.lastpool(self.conv1(self.conv0(self.avgpool(x))))
        return self.fc(flow.flatten(x, 1))


class Inception3(nn.Module):
    """Eleven Inception blocks.

    Weights normal with 0.1, in the auxiliary head's last convolution 0.01 and linear layer 0.001,
    truncated at two standard deviations: the authors' released code's, as in torchvision (the
    paper gives none). Input (B, 3, H, W), 299 px as published. Output (B, num_classes); in training
    with the auxiliary head the tuple (logits, aux) of that shape each, to be trained with
    CE(logits) + `aux_weights`[0] * CE(aux). `aux_weights` is () without the head.
    """

    def __init__(self, num_classes: int, aux_logits: bool = True, dropout: float = 0.5):
        super().__init__()
        self.aux_weights = AUX_WEIGHTS if aux_logits else ()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        self.Mixed_5b = InceptionA(192, 32)
        self.Mixed_5c = InceptionA(256, 64)
        self.Mixed_5d = InceptionA(288, 64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, 128)
        self.Mixed_6c = InceptionC(768, 160)
        self.Mixed_6d = InceptionC(768, 160)
        self.Mixed_6e = InceptionC(768, 192)
        if aux_logits:
            self.AuxLogits = AuxiliaryHead(num_classes)
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280)
        self.Mixed_7c = InceptionE(2048)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes)
        initialise_truncated_normal(self, 0.1)
        if aux_logits:
            initialise_truncated_normal(self.AuxLogits.conv1, 0.01)
            initialise_truncated_normal(self.AuxLogits.fc, 0.001)

    def forward(self, x: flow.Tensor) -> Union[flow.Tensor, Tuple[flow.Tensor, ...]]:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(self.maxpool1(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(self.maxpool2(x))))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        middle = self.Mixed_6e(self.Mixed_6d(x))
        x = self.avgpool(self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(middle))))
        logits = self.fc(self.dropout(flow.flatten(x, 1)))
        if self.training and self.aux_weights:
            return logits, self.AuxLogits(middle)
        return logits


register_model(Inception3, "inception_v3")


@register_model
def inception_v3_noaux(num_classes: int = 1000, dropout: float = 0.5) -> nn.Module:
    """Inception v3 without the auxiliary head."""
    return Inception3(num_classes, False, dropout)
