"""Made-up batches held in memory, for pure compute; NumPy only."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np

_PATTERN_SEED = 20230101
_PATTERN_SIDE = 8
_NOISE = 0.5


def create_synthetic_batches(
    num_batches: int,
    batch_size: int,
    image_size: int,
    num_classes: int,
    seed: int,
    channels: int = 3,
) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Batches of (images float32 (B, channels, H, W), labels int32 (B,)), the same for a seed.

    An image is its class's fixed 8 x 8 pattern, enlarged, plus noise, at about mean 0 and variance
    1, so that a model can learn it. The patterns do not depend on the seed: batches of another
    seed are new samples of the same classes.
    """
    patterns = np.random.default_rng(_PATTERN_SEED).standard_normal(
        (num_classes, channels, _PATTERN_SIDE, _PATTERN_SIDE), dtype=np.float32
    )
    source = np.random.default_rng(seed)
    place = np.arange(image_size) * _PATTERN_SIDE // image_size
    batches = []
    for _ in range(num_batches):
        labels = source.integers(0, num_classes, size=batch_size, dtype=np.int32)
        images = patterns[labels][:, :, place][:, :, :, place]
        noise = source.standard_normal(images.shape, dtype=np.float32)
        images = (images + _NOISE * noise) / np.float32(np.sqrt(1 + _NOISE**2))
        batches.append((np.ascontiguousarray(images, dtype=np.float32), labels))
    return batches
