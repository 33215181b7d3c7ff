"""Nests of tensors taken apart and put together."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple

import oneflow as flow
import pytest

from oneflow_bench.bench.training.nest import apply, flatten, map_tensors

pytestmark = pytest.mark.oneflow

Point = namedtuple("Point", "x y")


def test_a_nest_is_taken_apart_and_put_together_with_its_own_classes():
    one, two, three = (flow.tensor(float(number)) for number in range(3))
    assert map_tensors(float, defaultdict(list, a=one))["b"] == []
    nest = OrderedDict(a=(one, None, [two]), b=Point(three, "text"))
    tensors, rebuild = flatten(nest)
    assert [float(tensor) for tensor in tensors] == [0.0, 1.0, 2.0]
    again = rebuild([tensor + 1 for tensor in tensors])
    assert type(again) is OrderedDict and type(again["b"]) is Point and again["b"].y == "text"
    assert float(again["a"][2][0]) == 2.0 and again["a"][1] is None
    assert map_tensors(float, nest) == OrderedDict(a=(0.0, None, [1.0]), b=Point(2.0, "text"))


def test_a_nest_becomes_the_arguments_of_a_call():
    def call(*inputs, **named):
        return inputs, named

    point = Point(1, 2)
    assert apply(call, (1, 2)) == ((1, 2), {})
    assert apply(call, {"a": 1}) == ((), {"a": 1})
    assert apply(call, [1, 2]) == (([1, 2],), {})
    assert apply(call, point) == ((point,), {})
