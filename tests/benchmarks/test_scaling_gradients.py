from __future__ import annotations

import pytest
from scaling.gradients import BucketRule, create_buckets, read_step
from scaling_records import create_layer, create_profile, create_step

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.tools.profile.document import GraphFacts


def test_gradients_are_ready_in_backward_order_by_the_shares_of_the_layers():
    step = read_step(create_profile(), 4)
    assert step.step_time_s == 1.0
    assert step.backward_end_s == pytest.approx(0.8)
    # backward from 0.4 s to 0.8 s: a quarter for the last layer, the rest for the first
    assert [(one.layer, one.size_bytes) for one in step.gradients] == [
        ("last", 16),
        ("last", 400),
        ("first", 1200),
    ]
    assert [one.ready_s for one in step.gradients] == pytest.approx([0.5, 0.5, 0.8])


def test_parts_that_do_not_add_up_are_scaled_to_the_step():
    step = read_step(create_profile(step_s=0.5), 2)
    assert step.backward_end_s == pytest.approx(0.4)
    assert [one.ready_s for one in step.gradients] == pytest.approx([0.25, 0.25, 0.4])
    assert step.gradients[0].size_bytes == 8


def test_a_compiled_step_fills_its_own_time():
    graph = GraphFacts(compile_s=1.0, ops_built={}, ops_compiled={}, step_s=[2.0])
    step = read_step(create_profile(mode="graph").model_copy(update={"graph": graph}), 4)
    assert (step.step_time_s, step.backward_end_s) == (2.0, pytest.approx(1.6))


def test_what_an_older_profile_does_not_tell_is_said():
    layers = [create_layer("first", 0.03, [300]), create_layer("last", None, [100, 4])]
    layers[1] = layers[1].model_copy(update={"param_sizes": None})
    step = read_step(create_profile(layers), 4)
    assert not step.has_param_sizes
    assert step.untimed_layers == 1
    assert [one.size_bytes for one in step.gradients] == [416, 1200]
    assert [one.ready_s for one in step.gradients] == pytest.approx([0.4, 0.8])


def test_frozen_parameters_are_not_reduced():
    layers = [create_layer("frozen", 0.03, [], 300), create_layer("last", 0.01, [100])]
    assert [one.layer for one in read_step(create_profile(layers), 4).gradients] == ["last"]


@pytest.mark.parametrize(
    "layers, words",
    [
        ([create_layer("only", None, [3])], "has no backward times"),
        ([create_layer("only", 0.1, [])], "without trained parameters"),
    ],
)
def test_a_profile_from_which_nothing_follows_is_refused(layers, words):
    with pytest.raises(InputError, match=words):
        read_step(create_profile(layers), 4)


@pytest.mark.parametrize(
    "rule, sizes, ready",
    [
        ({"size_bytes": 0}, [10, 20, 30, 40], [0.1, 0.2, 0.3, 0.4]),
        ({"size_bytes": 30}, [30, 30, 40], [0.2, 0.3, 0.4]),
        ({"size_bytes": 1000}, [100], [0.4]),
        ({"parameters": 1}, [10, 20, 30, 40], [0.1, 0.2, 0.3, 0.4]),
        ({"parameters": 3}, [60, 40], [0.3, 0.4]),
    ],
)
def test_buckets_are_ready_with_their_last_gradient(rule, sizes, ready):
    gradients = create_step([(10, 0.1), (20, 0.2), (30, 0.3), (40, 0.4)]).gradients
    buckets = create_buckets(gradients, BucketRule(**rule))
    assert [bucket.size_bytes for bucket in buckets] == sizes
    assert [bucket.ready_s for bucket in buckets] == ready
