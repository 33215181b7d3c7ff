"""A variational autoencoder of small pictures, with two loss terms and its own optimizer.

    bench compare examples.vae:vae

The noise of the reparametrisation is a part of the batch, since OneFlow draws other random numbers
in a graph than in eager mode.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from oneflow_bench import TrainingStep

BATCH_SIZE, SIDE, LATENT = 32, 16, 4


class VAE(nn.Module):
    """Pictures (B, SIDE * SIDE) and noise (B, LATENT) to logits, means and log variances."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(SIDE * SIDE, 128), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(128, LATENT), nn.Linear(128, LATENT)
        self.decoder = nn.Sequential(nn.Linear(LATENT, 128), nn.ReLU(), nn.Linear(128, SIDE * SIDE))

    def forward(
        self, pictures: flow.Tensor, noise: flow.Tensor
    ) -> Tuple[flow.Tensor, flow.Tensor, flow.Tensor]:
        hidden = self.encoder(pictures)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        latent = mean + flow.exp(0.5 * log_variance) * noise
        return self.decoder(latent), mean, log_variance


def create_batches(seed: int) -> Iterator[Dict[str, np.ndarray]]:
    """White rectangles on black, without end."""
    source = np.random.default_rng(seed)
    while True:
        pictures = np.zeros((BATCH_SIZE, SIDE, SIDE), np.float32)
        for picture in pictures:
            top, left = source.integers(0, SIDE // 2, 2)
            height, width = source.integers(2, SIDE // 2, 2)
            picture[top : top + height, left : left + width] = 1.0
        noise = source.normal(size=(BATCH_SIZE, LATENT)).astype(np.float32)
        yield {"pictures": pictures.reshape(BATCH_SIZE, -1), "noise": noise}


def compute_loss(model: nn.Module, batch: Dict[str, flow.Tensor]) -> Dict[str, flow.Tensor]:
    """The two terms of Kingma and Welling 2013, arXiv:1312.6114, in nats a picture."""
    logits, mean, log_variance = model(batch["pictures"], batch["noise"])
    reconstruction = nn.functional.binary_cross_entropy_with_logits(
        logits, batch["pictures"], reduction="none"
    )
    divergence = mean**2 + flow.exp(log_variance) - log_variance - 1
    return {
        "reconstruction": reconstruction.sum(dim=1).mean(),
        "divergence": 0.5 * divergence.sum(dim=1).mean(),
    }


def create_optimizer(model: nn.Module) -> Any:
    """Adam with a rate that falls along a cosine, and clipped gradients."""
    group = {
        "params": list(model.parameters()),
        "clip_grad_max_norm": 100.0,
        "clip_grad_norm_type": 2.0,
    }
    optimizer = flow.optim.Adam([group], lr=1e-3)
    return optimizer, flow.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=200)


vae = TrainingStep(
    create_module=VAE,
    create_batches=create_batches,
    loss=compute_loss,
    create_optimizer=create_optimizer,
    evaluate=compute_loss,
)
