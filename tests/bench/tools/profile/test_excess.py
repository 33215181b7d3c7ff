"""The split of the time above the floor, on made-up profiles."""

from __future__ import annotations

import pytest
from limits_records import create_layer, create_layer_profile, create_limits, create_profile

from oneflow_bench.bench.report.blocks import Table, Text
from oneflow_bench.bench.tools.profile.document import ComputingTimes
from oneflow_bench.bench.tools.profile.excess import (
    count_product_cores,
    report_excess,
    split_layers,
    split_step,
)
from oneflow_bench.bench.tools.profile.work import Product


def create_product(of, time_s):
    flags = {"transposed_left": False, "transposed_right": False, "adds": False}
    return Product(of=of, **flags, rows=1, columns=1, inner=1, count=2, time_s=time_s)


def create_split_profile(blas=None, backward=0.2, **layer):
    """A pass of 1 GFLOP is 10 ms on one core of 100 GFLOP/s, and 6.67 ms on two of 150."""
    options = {
        "forward_computing_s": [0.09] * 3,
        "backward_computing_s": [0.17] * 3,
        "products": [create_product("forward", 0.02), create_product("weight_gradient", 0.03)],
        "im2col_s": 0.05,
        **layer,
    }
    one = create_layer_profile(0, 0.1, backward, **options)
    profile = create_profile([one], limits=create_limits([create_layer(moved=0)]))
    computing = ComputingTimes(step_s=[0.4] * 3, computing_s=[0.3] * 3)
    return profile.model_copy(update={"computing": computing, "environment": {"blas": blas}})


def test_the_parts_of_a_layer_sum_to_its_time():
    profile = create_split_profile()
    (one,) = split_layers(profile, profile.limits)
    assert one.floor_s == pytest.approx(0.020)
    assert one.parts == pytest.approx(
        {
            "one core": 0.010,
            "shape": (0.04 - 0.01) + (0.06 - 0.02),
            "im2col": 0.05,
            "operators": 0.3 - 0.020 - 0.010 - 0.07 - 0.05 - 0.04,
            "scheduler": 0.3 - 0.09 - 0.17,
        }
    )
    assert one.floor_s + sum(one.parts.values()) == pytest.approx(one.time_s)


def test_products_on_all_cores_lose_nothing_to_one_core():
    profile = create_split_profile(blas={"threads": 2})
    assert count_product_cores(profile) == 2
    (one,) = split_layers(profile, profile.limits)
    assert one.one_core_s == 0 and one.shape_s == pytest.approx(0.1 - 0.02)


def test_a_backward_without_a_time_is_left_out_with_its_products():
    profile = create_split_profile(backward=0.0, backward_computing_s=[])
    (one,) = split_layers(profile, profile.limits)
    assert one.time_s == pytest.approx(0.1) and one.shape_s == pytest.approx(0.03)
    assert one.scheduler_s == pytest.approx(0.01)


def test_a_pass_that_its_bytes_limit_loses_nothing_to_shape():
    profile = create_split_profile()
    limits = create_limits([create_layer(moved=10**9)])  # 100 ms a pass on one core
    (one,) = split_layers(profile, limits)
    assert one.shape_s == 0 and one.one_core_s == pytest.approx(0.15)


def test_the_step_is_split_by_its_own_times():
    profile = create_split_profile()
    step = split_step(profile, profile.limits, split_layers(profile, profile.limits))
    assert step.scheduler_s == pytest.approx(0.1) and step.time_s == pytest.approx(0.4)
    assert step.floor_s + sum(step.parts.values()) == pytest.approx(0.4)


def test_the_table_has_layers_the_step_and_shares():
    profile = create_split_profile()
    _, table, notes = report_excess(profile, profile.limits, None)
    assert isinstance(table, Table) and isinstance(notes, Text)
    layer, every, step, shares = table.rows
    assert layer[1:] == ["300.00", "20.00", "10.00", "70.00", "50.00", "110.00", "40.00", "73.7 %"]
    assert every[1:] == layer[1:] and step[0] == "the step"
    assert shares[3:] == ["2.6 %", "18.4 %", "13.2 %", "39.5 %", "26.3 %", "100.0 %"]


def test_what_was_not_measured_is_not_split():
    profile = create_split_profile()
    older = profile.model_copy(update={"computing": None})
    assert report_excess(older, profile.limits, None) == []
    uncounted = ComputingTimes(step_s=[0.4], computing_s=[])
    unknown = profile.model_copy(update={"computing": uncounted})
    _, text = report_excess(unknown, profile.limits, None)
    assert "does not count the processor time of threads" in text.lines[0]
