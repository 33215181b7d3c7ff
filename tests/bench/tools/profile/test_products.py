"""The products of a layer, against the calls of cblas_sgemm that OneFlow 0.9.0 was seen to make."""

from __future__ import annotations

import pytest

from oneflow_bench.bench.tools.profile.excess import list_products
from oneflow_bench.bench.tools.profile.work import CallShape, LayerTrace


def list_shapes(taken, given, macs, groups, needs_gradient=True, uses=1, params=1):
    call = CallShape(taken, given, needs_gradient)
    trace = LayerTrace("", "", "product", [call] * uses, params, False, macs, groups=groups)
    return [(one.shape, one.count) for one in list_products(trace)]


@pytest.mark.parametrize(
    "layer, seen",
    [
        # Conv2d(6, 10, 3, padding=1) of two images of 8 x 8
        (
            ([2, 6, 8, 8], [2, 10, 8, 8], 54, 1),
            [
                ([0, 0, 0, 10, 64, 54], 2),
                ([1, 0, 0, 54, 64, 10], 2),
                ([0, 1, 1, 10, 54, 64], 2),
            ],
        ),
        # Conv2d(6, 6, 3, padding=1, groups=6) of the same
        (
            ([2, 6, 8, 8], [2, 6, 8, 8], 9, 6),
            [([0, 0, 0, 1, 64, 9], 12), ([1, 0, 0, 9, 64, 1], 12), ([0, 1, 1, 1, 9, 64], 12)],
        ),
        # Linear(7, 5) of (2, 3, 7)
        (
            ([2, 3, 7], [2, 3, 5], 7, 0),
            [([0, 1, 0, 6, 5, 7], 1), ([0, 0, 0, 6, 7, 5], 1), ([1, 0, 0, 5, 7, 6], 1)],
        ),
    ],
)
def test_the_products_are_those_that_oneflow_calls(layer, seen):
    assert list_shapes(*layer) == seen


def test_gradients_that_nobody_wants_are_not_computed():
    layer = ([2, 6, 8, 8], [2, 10, 8, 8], 54, 1)
    forward, to_input, to_weight = list_shapes(*layer)
    assert list_shapes(*layer, needs_gradient=False) == [forward, to_weight]
    assert list_shapes(*layer, params=0) == [forward, to_input]


def test_a_layer_that_is_called_twice_multiplies_twice():
    layer = ([2, 6, 8, 8], [2, 10, 8, 8], 54, 1)
    assert [count for _, count in list_shapes(*layer, uses=2)] == [4, 4, 4]


def test_operations_are_counted_and_other_layers_have_none():
    trace = LayerTrace("", "", "product", [CallShape([3, 7], [3, 5], False)], 1, False, 7)
    assert [one.flops for one in list_products(trace)] == [210, 210]
    assert list_products(trace._replace(operation="element_wise")) == []
