"""Models of a user's own, each of which computes something else in a graph than eagerly."""

from __future__ import annotations

import oneflow as flow
from oneflow import nn


def in_graph():
    return flow._oneflow_internal.lazy_mode.is_enabled()


class Scaled(nn.Module):
    """A leaf of a user's own, off by a factor."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(flow.ones(8, 1, 1))

    def forward(self, x):
        return x * self.weight * (1.001 if in_graph() else 1.0)


class Detached(nn.Module):
    """Cuts the gradient between its layers, which are right by themselves."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.norm(x)
        return y.detach() + 0 * x if in_graph() else y


class Counting(nn.Module):
    """Skips its layer in every third step; a graph is traced in the first."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        return x if self.calls % 3 == 2 else self.conv(x)


class Late(Counting):
    """Skips its layer in step 15 alone."""

    def forward(self, x):
        self.calls += self.training
        return x if self.calls == 15 else self.conv(x)


class Aging(nn.Module):
    """Off by a factor in a graph, after the weight decay of 14 steps of SGD without momentum."""

    def __init__(self):
        super().__init__()
        self.age = nn.Parameter(flow.ones(1))

    def forward(self, x):
        old = (self.age < 1 - 1.35e-4).to(x.dtype)
        return x * (1.0 + old * (0.001 if in_graph() else 0.0)) + 0 * self.age


class Net(nn.Module):
    def __init__(self, block, num_classes):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.block = nn.Sequential(block)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.block(self.stem(x)).mean(dim=(2, 3)))


def scaled(num_classes):
    return Net(Scaled(), num_classes)


def detached(num_classes):
    return Net(Detached(), num_classes)


def late(num_classes):
    return Net(Late(), num_classes)


def dropping(num_classes):
    return Net(nn.Dropout(0.3), num_classes)


def aging(num_classes):
    return Net(Aging(), num_classes)


def counting(num_classes):
    return Net(Counting(), num_classes)
