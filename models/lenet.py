"""LeNet-5 (LeCun et al., Gradient-based learning applied to document recognition, 1998)."""

from __future__ import annotations

import oneflow as flow
from oneflow import nn

from .registry import register_model


class LeNet(nn.Module):
    """LeNet-5 for colour images, with ReLU and max pooling; OneFlow's default initialisation.

    Input (B, 3, 32, 32) or larger; output (B, num_classes).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 5),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((5, 5))
        self.classifier = nn.Sequential(
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, num_classes),
        )

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(flow.flatten(x, 1))


register_model(LeNet, "lenet")
