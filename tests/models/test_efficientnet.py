from __future__ import annotations

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.models.efficientnet import StochasticDepth

pytestmark = [pytest.mark.oneflow, pytest.mark.slow]

BATCH = 4000


def draw(layer, calls=1):
    layer.train()
    ones = flow.ones(BATCH, 2, 1, 1)
    return [layer(ones).numpy().copy() for _ in range(calls)]


@pytest.mark.slow
def test_samples_are_left_out_as_often_as_said_and_the_others_scaled():
    (output,) = draw(StochasticDepth(0.2, 3, 16))
    assert output.shape == (BATCH, 2, 1, 1)
    assert np.allclose(np.unique(output), [0, 1.25])
    assert np.array_equal(output[:, 0], output[:, 1])
    assert (output[:, 0] == 0).mean() == pytest.approx(0.2, abs=0.03)


def test_blocks_and_steps_draw_independently():
    first, second = draw(StochasticDepth(0.5, 0, 4), calls=2)
    (other,) = draw(StochasticDepth(0.5, 1, 4))
    for one, another in [(first, second), (first, other), (second, other)]:
        assert (one == another).mean() == pytest.approx(0.5, abs=0.05)


def test_evaluation_leaves_nothing_out():
    x = flow.randn(8, 3, 2, 2)
    assert np.array_equal(StochasticDepth(0.5, 0, 4).eval()(x).numpy(), x.numpy())


def test_both_modes_draw_the_same():
    class Graph(nn.Graph):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def build(self, x):
            return self.layer(x)

    x = flow.ones(BATCH, 2, 1, 1)
    graph = Graph(StochasticDepth(0.3, 2, 4).train())
    drawn = [graph(x).numpy().copy() for _ in range(3)]
    assert np.array_equal(drawn, draw(StochasticDepth(0.3, 2, 4), calls=3))
