"""Initialisations that cost next to nothing, for tests that do not look at them."""

from __future__ import annotations

import numpy as np
import pytest

DRAWS = ("kaiming_uniform_", "kaiming_normal_", "normal_", "uniform_")
LARGE = 1 << 20  # elements; drawing a VGG's 123 million takes seconds, in the background
PERIOD = 1_000_003  # a prime, so that no two rows of a weight are equal


@pytest.fixture
def no_initialisation():
    """Weights stay as the memory was: for shapes and counts only."""
    with pytest.MonkeyPatch.context() as patch:
        replace_draws(patch, lambda draw: lambda tensor, *args, **kwargs: tensor)
        yield


@pytest.fixture(scope="module")
def cheap_initialisation():
    """Large weights are not drawn; `fill_large_weights` gives them values."""

    def create(draw):
        def draw_small(tensor, *args, **kwargs):
            return draw(tensor, *args, **kwargs) if tensor.numel() < LARGE else tensor

        return draw_small

    with pytest.MonkeyPatch.context() as patch:
        replace_draws(patch, create)
        yield fill_large_weights


def fill_large_weights(model):
    """From a short random pattern with a standard deviation of 0.01."""
    import oneflow as flow

    pattern = np.random.RandomState(0).normal(0, 0.01, PERIOD).astype(np.float32)
    for parameter in model.parameters():
        if parameter.numel() >= LARGE:
            values = np.resize(pattern, tuple(parameter.shape))
            with flow.no_grad():
                parameter.copy_(flow.from_numpy(values))


def replace_draws(patch, create):
    from oneflow import nn

    for name in DRAWS:
        patch.setattr(nn.init, name, create(getattr(nn.init, name)))
