"""A siamese network: one encoder sees two inputs, and like pairs shall lie close together.

bench compare examples.siamese:siamese --lr 0.05 --schedule constant
"""

from __future__ import annotations

from typing import Dict, Iterator, NamedTuple

import numpy as np
import oneflow as flow
from oneflow import nn

from oneflow_bench import TrainingStep

BATCH_SIZE, LENGTH, WIDTH, CLASSES, MARGIN = 32, 6, 16, 2, 1.0


class Pairs(NamedTuple):
    """Two signals (B, LENGTH, 1), and 1 where both are of one class (B,)."""

    left: flow.Tensor
    right: flow.Tensor
    alike: flow.Tensor


class Encoder(nn.Module):
    """An LSTM over a signal (B, T, 1), and a projection of its last output to (B, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, WIDTH, batch_first=True)
        self.projection = nn.Linear(WIDTH, WIDTH)

    def forward(self, signal: flow.Tensor) -> flow.Tensor:
        outputs, _ = self.lstm(signal)
        return self.projection(outputs[:, -1])


def create_batches(seed: int) -> Iterator[Pairs]:
    """Noisy sines of a few frequencies, without end."""
    source = np.random.default_rng(seed)
    times = np.linspace(0, 2 * np.pi, LENGTH)

    def draw(classes: np.ndarray) -> np.ndarray:
        clean = np.sin(times * (1 + classes[:, None]))
        noisy = clean + source.normal(scale=0.1, size=clean.shape)
        return noisy[:, :, None].astype(np.float32)

    while True:
        left = source.integers(0, CLASSES, BATCH_SIZE)
        right = np.where(source.random(BATCH_SIZE) < 0.5, left, source.permutation(left))
        yield Pairs(draw(left), draw(right), (left == right).astype(np.float32))


def measure_distances(model: nn.Module, pairs: Pairs) -> flow.Tensor:
    """The distance of each pair's encodings (B,)."""
    difference = model(pairs.left) - model(pairs.right)
    return flow.sqrt((difference * difference).sum(dim=1) + 1e-6)


def compute_loss(model: nn.Module, pairs: Pairs) -> flow.Tensor:
    """The contrastive loss (Hadsell, Chopra and LeCun 2006): like pairs near, others apart."""
    distance = measure_distances(model, pairs)
    apart = flow.relu(MARGIN - distance)
    return (pairs.alike * distance**2 + (1 - pairs.alike) * apart**2).mean()


def evaluate(model: nn.Module, pairs: Pairs) -> Dict[str, flow.Tensor]:
    """The loss, and the share of pairs on the right side of half the margin."""
    near = (measure_distances(model, pairs) < MARGIN / 2).to(flow.float32)
    right = near * pairs.alike + (1 - near) * (1 - pairs.alike)
    return {"loss": compute_loss(model, pairs), "accuracy": right.mean()}


siamese = TrainingStep(
    create_module=Encoder,
    create_batches=create_batches,
    loss=compute_loss,
    evaluate=evaluate,
    predict=measure_distances,
)
