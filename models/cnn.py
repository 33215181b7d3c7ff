"""A small convolutional network, the usual student of knowledge-distillation code for CIFAR."""

from __future__ import annotations

import oneflow as flow
from oneflow import nn

from .initialisation import initialise_he
from .registry import register_model


class CNN(nn.Module):
    """Three convolutions, each with batch norm and 2x2 pooling, two linear layers.

    He initialisation (fan-out, arXiv:1502.01852). Input (B, 3, H, W), 32 px as published; output
    (B, num_classes).
    """

    def __init__(self, num_classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(128)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(2, 2)
        self.avgpool = nn.AdaptiveAvgPool2d((4, 4))  # the identity at 32 px
        self.fc1 = nn.Linear(128 * 4 * 4, 128)
        self.fcbn1 = nn.BatchNorm1d(128)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(128, num_classes)
        initialise_he(self)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.relu(self.maxpool(self.bn1(self.conv1(x))))
        x = self.relu(self.maxpool(self.bn2(self.conv2(x))))
        x = self.relu(self.maxpool(self.bn3(self.conv3(x))))
        x = flow.flatten(self.avgpool(x), 1)
        return self.fc2(self.dropout(self.relu(self.fcbn1(self.fc1(x)))))


register_model(CNN, "cnn")
