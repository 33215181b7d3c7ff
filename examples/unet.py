"""A small U-Net that finds discs in noisy pictures, pixel by pixel.

bench compare examples.unet:unet --optimizer adam --lr 1e-3
"""

from __future__ import annotations

from typing import Dict, Iterator, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from oneflow_bench import TrainingStep

BATCH_SIZE, SIDE, CHANNELS = 4, 32, 8


def create_double(inputs: int, outputs: int) -> nn.Module:
    """Two convolutions, each with a batch norm and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """Pictures (B, 1, H, W) to logits of the disc (B, 1, H, W); Ronneberger et al. 2015."""

    def __init__(self) -> None:
        super().__init__()
        self.down_1, self.down_2 = create_double(1, CHANNELS), create_double(CHANNELS, 2 * CHANNELS)
        self.bottom = create_double(2 * CHANNELS, 4 * CHANNELS)
        self.rise_2 = nn.ConvTranspose2d(4 * CHANNELS, 2 * CHANNELS, 2, stride=2)
        self.up_2 = create_double(4 * CHANNELS, 2 * CHANNELS)
        self.rise_1 = nn.ConvTranspose2d(2 * CHANNELS, CHANNELS, 2, stride=2)
        self.up_1, self.head = create_double(2 * CHANNELS, CHANNELS), nn.Conv2d(CHANNELS, 1, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, pictures: flow.Tensor) -> flow.Tensor:
        first = self.down_1(pictures)
        second = self.down_2(self.pool(first))
        bottom = self.bottom(self.pool(second))
        second = self.up_2(flow.cat([second, self.rise_2(bottom)], dim=1))
        return self.head(self.up_1(flow.cat([first, self.rise_1(second)], dim=1)))


def create_batches(seed: int) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Noisy pictures with a disc each, and the disc's mask, without end."""
    source = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    while True:
        centres = source.uniform(8, SIDE - 8, (BATCH_SIZE, 2, 1, 1))
        radii = source.uniform(3, 8, (BATCH_SIZE, 1, 1))
        distances = np.hypot(rows - centres[:, 0], columns - centres[:, 1])
        masks = (distances < radii).astype(np.float32)[:, None]
        noise = source.normal(scale=0.3, size=masks.shape)
        yield (masks + noise).astype(np.float32), masks


def compute_loss(model: nn.Module, batch: Tuple[flow.Tensor, flow.Tensor]) -> flow.Tensor:
    """Mean binary cross entropy of the pixels, in nats."""
    pictures, masks = batch
    return nn.functional.binary_cross_entropy_with_logits(model(pictures), masks)


def evaluate(model: nn.Module, batch: Tuple[flow.Tensor, flow.Tensor]) -> Dict[str, flow.Tensor]:
    """The intersection of found and true discs over their union."""
    pictures, masks = batch
    found = (model(pictures) > 0).to(flow.float32)
    union = flow.maximum(found, masks).sum()
    return {"intersection over union": (found * masks).sum() / union}


unet = TrainingStep(
    create_module=UNet,
    create_batches=create_batches,
    loss=compute_loss,
    evaluate=evaluate,
    predict=lambda model, batch: model(batch[0]),
)
