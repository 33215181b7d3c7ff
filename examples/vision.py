"""A model of flowvision on random images whose brightness tells the class.

Needs flowvision, in the version for OneFlow 0.9.0: pip install flowvision==0.2.1

bench compare examples.vision:vision
"""

from __future__ import annotations

from typing import Dict, Iterator, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from oneflow_bench import TrainingStep

BATCH_SIZE, IMAGE_SIZE, CLASSES = 8, 32, 10


def create_module() -> nn.Module:
    """A ResNet-18 for few classes."""
    try:
        from flowvision.models import resnet18
    except ImportError:
        raise ImportError(
            "flowvision is not installed and has the model; run pip install flowvision==0.2.1"
        ) from None
    return resnet18(num_classes=CLASSES)


def create_batches(seed: int) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Images (B, 3, H, W) and classes (B,), without end."""
    source = np.random.default_rng(seed)
    while True:
        classes = source.integers(0, CLASSES, BATCH_SIZE)
        images = source.normal(size=(BATCH_SIZE, 3, IMAGE_SIZE, IMAGE_SIZE))
        yield (images + classes.reshape(-1, 1, 1, 1) / CLASSES).astype(np.float32), classes


def compute_loss(model: nn.Module, batch: Tuple[flow.Tensor, flow.Tensor]) -> flow.Tensor:
    """Mean cross entropy."""
    images, classes = batch
    return nn.functional.cross_entropy(model(images), classes)


def create_optimizer(model: nn.Module) -> flow.optim.Optimizer:
    """Adam, with a rate for a model that begins from random weights."""
    return flow.optim.Adam(model.parameters(), lr=1e-3)


def evaluate(model: nn.Module, batch: Tuple[flow.Tensor, flow.Tensor]) -> Dict[str, flow.Tensor]:
    """The share of images that are classified rightly."""
    images, classes = batch
    return {"accuracy": (model(images).argmax(dim=1) == classes).to(flow.float32).mean()}


vision = TrainingStep(
    create_module=create_module,
    create_batches=create_batches,
    loss=compute_loss,
    create_optimizer=create_optimizer,
    evaluate=evaluate,
    predict=lambda model, batch: model(batch[0]),
)
