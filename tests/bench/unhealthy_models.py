"""Small classifiers for 8 px images. Each but the first has something that hinders training."""

from __future__ import annotations

import oneflow as flow
from oneflow import nn


class Small(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(16 * 64, num_classes)
        nn.init.normal_(self.fc.weight, 0.0, 0.01)

    def forward(self, x):
        return self.fc(self.dropout(flow.flatten(self.relu(self.conv(x)), 1)))


def healthy(num_classes):
    return Small(num_classes)


def loud(num_classes):
    """Its first predictions are sure, and wrong."""
    model = Small(num_classes)
    nn.init.normal_(model.fc.weight, 0.0, 1.0)
    return model


def dead(num_classes):
    """Fourteen of sixteen channels are below zero for any image."""
    model = Small(num_classes)
    nn.init.constant_(model.conv.bias[:14], -100.0)
    return model


class Detached(Small):
    """Nothing comes back to its convolution."""

    def forward(self, x):
        return self.fc(flow.flatten(self.relu(self.conv(x)).detach(), 1))


def detached(num_classes):
    return Detached(num_classes)


class Blind(Small):
    """It sees no image, so it learns how often a class comes and no more."""

    def forward(self, x):
        return Small.forward(self, x * 0.0)


def blind(num_classes):
    return Blind(num_classes)
