"""Operations and bytes against numbers worked out by hand."""

from __future__ import annotations

import pytest

from oneflow_bench.bench.tools.profile.work import (
    CallShape,
    LayerTrace,
    UpdateRule,
    Work,
    count_layer,
    count_update,
)

PLAIN = UpdateRule(momentum=False, weight_decay=False)
RECIPE = UpdateRule(momentum=True, weight_decay=True)


def call(inputs, outputs, needs=True):
    return CallShape(input_shape=inputs, output_shape=outputs, needs_input_gradient=needs)


def count(operation, *calls, rule=RECIPE, **about):
    about.setdefault("num_params", 0)
    trace = LayerTrace(name="x", kind="X", operation=operation, calls=list(calls), **about)
    return count_layer(trace, rule)


def flops(layer):
    parts = (layer.forward, layer.input_gradient, layer.weight_gradient, layer.update)
    return [part.flops for part in parts]


def elements(layer):
    parts = (layer.forward, layer.input_gradient, layer.weight_gradient, layer.update)
    return [part.bytes / 4 for part in parts]


def test_a_convolution():
    # (2, 3, 8, 8) -> (2, 4, 6, 6) by 3 x 3: 288 outputs of 27 multiply-adds; 4 * 27 + 4 parameters
    shape = call([2, 3, 8, 8], [2, 4, 6, 6])
    layer = count("product", shape, macs_per_output=27, num_params=112, has_bias=True)
    assert layer.macs == 7776
    assert flops(layer) == [15552, 15552, 15552 + 288, 6 * 112]
    assert elements(layer) == [288 + 112, 384 + 112, 384 + 112, 5 * 112]
    assert layer.backward == Work(flops=31392, bytes=4 * 992)
    assert layer.total == Work(flops=15552 + 31392 + 672, bytes=4 * (400 + 992 + 560))


def test_the_first_layer_has_no_gradient_of_its_input():
    shape = call([2, 3, 8, 8], [2, 4, 6, 6], needs=False)
    layer = count("product", shape, macs_per_output=27, num_params=112, has_bias=True)
    assert layer.input_gradient == Work()
    assert layer.weight_gradient.flops == 15840


def test_a_depthwise_convolution_has_a_multiply_add_for_each_pixel_of_its_window():
    # 8 channels of 5 x 5, 3 x 3 windows, padded, no bias
    shape = call([1, 8, 5, 5], [1, 8, 5, 5])
    layer = count("product", shape, macs_per_output=9, num_params=72)
    assert flops(layer) == [3600, 3600, 3600, 432]


def test_a_linear_layer_called_twice_moves_its_weights_once():
    # (4, 10) -> (4, 10) twice: 80 outputs of 10 multiply-adds
    shape = call([4, 10], [4, 10])
    layer = count("product", shape, shape, macs_per_output=10, num_params=110, has_bias=True)
    assert (layer.calls, layer.macs) == (2, 800)
    assert flops(layer) == [1600, 1600, 1680, 660]
    assert elements(layer) == [80 + 110, 80 + 110, 80 + 110, 550]


def test_frozen_weights_have_no_gradient():
    layer = count("product", call([4, 10], [4, 5]), macs_per_output=10)
    assert flops(layer) == [400, 400, 0, 0]
    assert elements(layer) == [20, 40, 0, 0]


def test_batch_norm():
    # (2, 4, 3, 3): 72 elements, 8 parameters
    layer = count("norm", call([2, 4, 3, 3], [2, 4, 3, 3]), num_params=8)
    assert flops(layer) == [360, 288, 216, 48]
    assert elements(layer) == [72 + 8, 72, 72 + 8, 40]


@pytest.mark.parametrize(
    "operation, window, forward",
    [("max_pool", 9, 8 * 50), ("avg_pool", 9, 9 * 50), ("adaptive_pool", 0, 242)],
)
def test_pooling(operation, window, forward):
    # (1, 2, 11, 11) -> (1, 2, 5, 5)
    layer = count(operation, call([1, 2, 11, 11], [1, 2, 5, 5]), window=window)
    assert flops(layer) == [forward, 50, 0, 0]
    assert elements(layer) == [50, 242, 0, 0]


def test_an_activation_computes_and_moves_nothing_of_its_own():
    layer = count("element_wise", call([2, 3, 4, 4], [2, 3, 4, 4]))
    assert flops(layer) == [96, 96, 0, 0]
    assert layer.total.bytes == 0


def test_a_layer_that_is_not_known_says_so_and_still_moves_its_tensors():
    layer = count("other", call([2, 6], [2, 6]), num_params=3)
    assert not layer.counted
    assert flops(layer) == [0, 0, 0, 18]
    assert elements(layer) == [15, 12, 15, 15]


def test_a_parameter_outside_the_layers_is_updated():
    layer = count("parameter", num_params=7)
    assert layer.counted
    assert (flops(layer), elements(layer)) == ([0, 0, 0, 42], [0, 0, 0, 35])


def test_the_update_without_momentum_and_decay():
    assert count_update(10, PLAIN) == Work(flops=20, bytes=120)
    assert count_update(10, PLAIN._replace(weight_decay=True)) == Work(flops=40, bytes=120)
    assert count_update(10, PLAIN._replace(momentum=True)) == Work(flops=40, bytes=200)
