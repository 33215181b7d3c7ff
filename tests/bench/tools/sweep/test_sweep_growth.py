from __future__ import annotations

import random

import pytest
from sweep_cells import create_cell, create_result, create_sweep

from oneflow_bench.bench.tools.sweep.growth import Point, fit_line, measure_growth

SIZES = (1, 2, 4, 8, 16)


def points(values, sizes=SIZES):
    return [Point(batch_size=size, value=value) for size, value in zip(sizes, values)]


def test_a_line_is_found_again_exactly():
    fit = fit_line(points([3.0 + 0.5 * size for size in SIZES]))
    assert (fit.floor, fit.per_image) == pytest.approx((3.0, 0.5))
    assert (fit.floor_low, fit.floor_high) == pytest.approx((3.0, 3.0), abs=1e-6)
    assert not fit.is_bad and not fit.floor_held


def test_the_intervals_hold_the_truth_as_often_as_they_say():
    source = random.Random(0)
    floors = slopes = 0
    for _ in range(400):
        fit = fit_line(points([(3 + 0.5 * s) * source.gauss(1, 0.03) for s in SIZES]))
        floors += fit.floor_low <= 3 <= fit.floor_high
        slopes += fit.per_image_low <= 0.5 <= fit.per_image_high
    assert 0.92 <= floors / 400 <= 0.98
    assert 0.92 <= slopes / 400 <= 0.98


def test_each_value_weighs_by_its_share_so_that_the_largest_batch_does_not_hide_the_floor():
    values = [3.0 + 0.5 * size for size in SIZES]
    values[-1] *= 1.05  # 0.55 of 11; an unweighted line would put the floor at 2.8
    assert fit_line(points(values)).floor == pytest.approx(3.0, abs=0.06)


def test_a_floor_below_zero_is_held_there_and_its_interval_reaches_zero():
    fit = fit_line(points([0.99, 2.01, 4.04, 8.02, 16.2]))
    assert fit.floor == fit.floor_low == 0.0 and fit.floor_held
    assert fit.floor_high > 0
    assert fit.per_image == pytest.approx(1.0, rel=0.02)
    assert fit.per_image_low <= fit.per_image <= fit.per_image_high
    assert not fit.is_bad


def test_what_grows_faster_than_the_batch_is_called_a_bad_fit():
    document = create_sweep(
        *(create_cell(batch_size=s, result=create_result(eager_s=0.01 * s - 0.004)) for s in SIZES)
    )
    times = [one for one in measure_growth(document) if one.quantity == "step_time_s"]
    assert all(one.fit.faster_than_linear and one.fit.is_bad for one in times)
    assert "faster than in proportion" in times[0].note
    assert fit_line(points([s**1.5 for s in SIZES])).is_bad


def test_a_line_that_misses_a_point_is_called_a_bad_fit_with_the_number():
    document = create_sweep(
        *(create_cell(batch_size=s, result=create_result(eager_s=t))
          for s, t in zip(SIZES, (0.010, 0.011, 0.030, 0.013, 0.014)))
    )  # fmt: skip
    one = measure_growth(document)[0]
    assert one.fit.is_bad
    assert f"misses a point by {one.fit.worst_residual * 100:.0f} %" in one.note


@pytest.mark.parametrize("sizes", [(), (4,), (4, 8), (4, 4, 8)])
def test_fewer_than_three_batch_sizes_give_no_line(sizes):
    assert fit_line(points([1.0] * len(sizes), sizes)) is None


def test_equal_values_are_a_floor_without_a_slope():
    fit = fit_line(points([7.0] * 5))
    assert (fit.floor, fit.per_image) == pytest.approx((7.0, 0.0))
    assert not fit.is_bad


def test_curves_are_by_model_and_other_axes_and_leave_out_what_was_not_done():
    cells = [
        create_cell(model, size, create_result(eager_s=0.004 + 0.001 * size), feed=feed)
        for model in ("lenet", "alexnet")
        for feed in ("loader", "memory")
        for size in (4, 1, 2)
    ]
    cells[0].result = create_result(status="timeout")
    cells[1].result = None
    grown = measure_growth(create_sweep(*cells))
    assert len(grown) == 2 * 2 * 2 * 2
    first, full = grown[0], grown[4]
    assert first.values == {"model": "lenet", "feed": "loader"}
    assert [p.batch_size for p in first.points] == [2] and first.fit is None
    assert "1 of the 3 batch sizes" in first.note
    assert [p.batch_size for p in full.points] == [1, 2, 4]
    assert full.fit.floor == pytest.approx(0.004) and full.fit.per_image == pytest.approx(0.001)
