from __future__ import annotations

import pytest

pytestmark = pytest.mark.oneflow


def find(*layers, ranks=2):
    """Places of the layers in the pairs found."""
    from oneflow import nn

    from oneflow_bench.bench.distributed.strategies import find_pairs

    pairs = find_pairs(nn.Sequential(*layers), ranks)
    return [tuple(layers.index(layer) for layer in pair) for pair in pairs]


def test_pairs_are_wide_linear_layers_with_only_activations_and_dropout_between():
    from oneflow.nn import BatchNorm1d, Conv2d, Dropout, Linear, ReLU

    assert find(Linear(4, 64), ReLU(), Dropout(0.5), Linear(64, 3)) == [(0, 3)]
    assert find(Linear(4, 64), Linear(64, 64), Linear(64, 64), Linear(64, 2)) == [(0, 1), (2, 3)]
    assert find(Linear(4, 64), BatchNorm1d(64), Linear(64, 3)) == []
    assert find(Linear(4, 32), ReLU(), Linear(32, 3)) == []  # not wide
    assert find(Linear(4, 64), ReLU(), Linear(64, 3), ranks=3) == []  # 64 is no multiple of 3
    assert find(Linear(4, 64), ReLU(), Linear(32, 3)) == []  # something came between them
    assert find(Conv2d(3, 64, 1), Linear(64, 64)) == []
