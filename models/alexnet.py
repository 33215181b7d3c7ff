"""AlexNet in one tower (Krizhevsky, One weird trick, 2014, arXiv:1404.5997), with two stems."""

from __future__ import annotations

import oneflow as flow
from oneflow import nn

from .blocks import create_conv_norm
from .initialisation import initialise_he
from .registry import register_model


def _create_features(padding: int, window: int) -> nn.Sequential:
    """The five convolutions, with the padding of the first and the window of the poolings."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=padding),
        nn.ReLU(),
        nn.MaxPool2d(window, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(window, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(window, 2),
    )


class AlexNet(nn.Module):
    """Layers and names as torchvision's; OneFlow's default initialisation.

    Input (B, 3, H, W) with H and W at least 63, 224 as published; output (B, num_classes).
    """

    def __init__(self, num_classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = _create_features(padding=2, window=3)
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(flow.flatten(x, 1))


class AlexNetBatchNorm(nn.Module):
    """AlexNet with batch norm behind every layer but the last, whose bias is the only one.

    27 leaf layers; He initialisation (fan-out, arXiv:1502.01852), linear N(0, 0.01). Input
    (B, 3, H, W) with H and W at least 63, 224 as published; output (B, num_classes).
    """

    def __init__(self, num_classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *create_conv_norm(3, 64, 11, stride=4, padding=2),
            nn.MaxPool2d(3, 2),
            *create_conv_norm(64, 192, 5),
            nn.MaxPool2d(3, 2),
            *create_conv_norm(192, 384, 3),
            *create_conv_norm(384, 256, 3),
            *create_conv_norm(256, 256, 3),
            nn.MaxPool2d(3, 2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096, bias=False),
            nn.BatchNorm1d(4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096, bias=False),
            nn.BatchNorm1d(4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        # the identity at 224 px
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (6, 6))
        return self.classifier(flow.flatten(x, 1))


class AlexNetCifar(nn.Module):
    """The five convolutions behind a stem for 32 px, one linear layer; He initialisation.

    Input (B, 3, H, W) with H and W at least 29; output (B, num_classes).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = _create_features(padding=5, window=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))  # the identity at 32 px
        self.classifier = nn.Linear(256, num_classes)
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(flow.flatten(x, 1))


register_model(AlexNet, "alexnet")
register_model(AlexNetBatchNorm, "alexnet_owt_bn")
register_model(AlexNetCifar, "alexnet_cifar")
