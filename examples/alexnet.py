"""Inference of AlexNet, by batch size. Without a loss a step cannot be trained.

bench infer examples.alexnet:alexnet --mode both --batch-size 1,4,16
"""

from __future__ import annotations

from typing import Iterator

import numpy as np

from oneflow_bench import TrainingStep
from oneflow_bench.models import alexnet as create_alexnet

IMAGE_SIZE, BATCH_SIZE = 64, 1


def create_batches(seed: int) -> Iterator[np.ndarray]:
    """Images (B, 3, H, W) of random numbers: the time does not depend on what they show."""
    source = np.random.default_rng(seed)
    while True:
        shape = (BATCH_SIZE, 3, IMAGE_SIZE, IMAGE_SIZE)
        yield source.normal(size=shape).astype(np.float32)


alexnet = TrainingStep(
    create_module=lambda: create_alexnet(num_classes=1000), create_batches=create_batches
)
