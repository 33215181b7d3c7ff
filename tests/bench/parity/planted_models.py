"""Small models of which each has one cause for a difference, for `bench check --model`."""

from __future__ import annotations

import random

import numpy as np
import oneflow as flow
import oneflow.nn.functional as F
from oneflow import nn


class Plain(nn.Module):
    """Two linear layers with a planted `middle` between."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.first, self.last = nn.Linear(3 * 32 * 32, 8), nn.Linear(8, num_classes)
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(8)
        self.calls, self.temperature, self.seen = 0, 1.0, flow.zeros(1)
        self.register_buffer("total", flow.zeros(1))
        self.register_buffer("scale", flow.ones(1), persistent=False)

    def forward(self, images):
        return self.last(self.middle(F.relu(self.first(flow.flatten(images, 1)))))

    def middle(self, x):
        return self.drop(x)


class FunctionalDropout(Plain):
    def middle(self, x):
        return F.dropout(x, 0.5, training=self.training)


class DropoutTwice(Plain):
    def middle(self, x):
        return self.drop(self.drop(x))


class Noise(Plain):
    def middle(self, x):
        return x + flow.rand(*x.shape) if self.training else x


class StochasticDepth(Plain):
    def middle(self, x):
        return x * flow.bernoulli(flow.full((x.shape[0], 1), 0.5)) if self.training else x


class Shuffled(Plain):
    def middle(self, x):
        return x + x[flow.randperm(x.shape[0])] if self.training else x


class InPlaceNoise(Plain):
    def middle(self, x):
        return x + flow.empty(*x.shape).uniform_(0, 1) if self.training else x


class Scaled(nn.Module):
    def forward(self, x):
        return x if isinstance(self, nn.Module) else x * 1.01  # a graph's stand-in is no Module


class FaultBehindNoise(FunctionalDropout):
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.scaled = Scaled()

    def middle(self, x):
        return self.scaled(F.dropout(x, 0.5, training=self.training))


class Detaching(nn.Module):
    def forward(self, x):
        return x * 2.0 if isinstance(self, nn.Module) else x.detach() * 2.0


class Detached(Plain):
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.inner, self.detaching = nn.Linear(8, 8), Detaching()

    def middle(self, x):
        return self.detaching(F.relu(self.inner(x)))


class Counter(Plain):
    def middle(self, x):
        self.calls += 1
        return x / self.calls


class Annealed(Plain):
    def middle(self, x):
        self.temperature *= 0.9
        return x / self.temperature


class FrozenNorm(Plain):
    def middle(self, x):
        self.calls += 1
        if self.calls >= 3:
            self.norm.eval()
        return self.norm(x)


class PythonRandom(Plain):
    def middle(self, x):
        return x * random.Random(0).random() * random.random()


class NumpyNoise(Plain):
    def middle(self, x):
        return x * float(np.random.rand())


class AssignedBuffer(Plain):
    def middle(self, x):
        self.total = self.total + 1
        return x + self.total


class AssignedAttribute(Plain):
    def middle(self, x):
        self.seen = self.seen + 1
        return x + self.seen


class NonPersistent(Plain):
    def middle(self, x):
        self.scale = self.scale * 1.5
        return x * self.scale


class Hooked(Plain):
    def __init__(self, num_classes=10):
        super().__init__(num_classes)
        self.first.register_forward_hook(lambda module, inputs, output: output * 2)


class ChangesInput(Plain):
    def forward(self, images):
        images.mul_(0.5)
        return self.last(F.relu(self.first(flow.flatten(images, 1))))


class Condition(Plain):
    def middle(self, x):
        return x if x.sum() > 0 else -x


class Item(Plain):
    def middle(self, x):
        return x * x.mean().item()


class Array(Plain):
    def middle(self, x):
        return x * float(x.numpy().max())


class Masked(Plain):
    def middle(self, x):
        return x + x[x > 0].sum()


class AssignsData(Plain):
    def middle(self, x):
        self.last.weight.data = self.last.weight * 0.5
        return x
