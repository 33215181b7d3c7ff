from __future__ import annotations

import math
import random

import pytest
from sweep_cells import create_cell, create_result, create_sweep

from oneflow_bench.bench.tools.sweep.document import (
    average_speedups,
    choose_exit_status,
    summarize_sweep,
)


def summarize(*results):
    cells = [create_cell(f"m{i}", result=result) for i, result in enumerate(results)]
    return summarize_sweep(create_sweep(*cells))


def test_the_mean_is_geometric_and_counts_every_cell():
    summary = summarize(create_result(2.0), create_result(0.5), create_result(4.0))
    assert summary.mean.ratio == pytest.approx(4.0 ** (1 / 3))
    assert (summary.mean.models, summary.mean.cells) == (3, 3)
    assert summary.left_out == []
    assert summary.mean_if_one == summary.mean_if_worst == pytest.approx(summary.mean.ratio)


def test_failures_are_counted_and_their_weight_is_said():
    summary = summarize(
        create_result(2.0), create_result(0.5), create_result(2.0), create_result(status="failed"),
        create_result(status="timeout"), None,
    )  # fmt: skip
    assert summary.failed == {"failed": 1, "timeout": 1}
    assert (summary.cells, summary.done, summary.waiting) == (6, 3, 1)
    assert summary.mean.ratio == pytest.approx(2 ** (1 / 3))
    assert len(summary.left_out) == 2
    assert summary.mean_if_one == pytest.approx(2 ** (1 / 5))
    assert summary.worst == pytest.approx(0.5)
    assert summary.mean_if_worst == pytest.approx(2 ** (-1 / 5))


def test_a_cell_whose_modes_differ_is_no_speedup():
    wrong = create_result(9.0, parity="different", parity_reason="far off")
    summary = summarize(create_result(1.1), wrong)
    assert summary.mean.ratio == pytest.approx(1.1)
    assert summary.left_out == ["m1 batch_size=8"]
    assert summary.parity == {"identical": 1, "different": 1}


def test_extreme_speedups_are_not_clipped():
    assert summarize(create_result(0.01), create_result(1.0)).mean.ratio == pytest.approx(0.1)


def test_with_equal_cells_the_interval_is_that_of_the_models_means():
    logs = {"a": [0.1, 0.3], "b": [0.0, 0.2], "c": [0.5, 0.5]}
    mean = average_speedups(logs)
    means = [0.2, 0.1, 0.5]
    centre = sum(means) / 3
    error = math.sqrt(sum((m - centre) ** 2 for m in means) / 2 / 3)
    assert math.log(mean.high) == pytest.approx(centre + 4.302653 * error, rel=1e-5)
    assert math.log(mean.low) == pytest.approx(centre - 4.302653 * error, rel=1e-5)
    assert mean.over == "models"


def test_one_model_speaks_for_its_cells_and_one_cell_has_no_interval():
    one = average_speedups({"a": [0.0, 0.1, 0.2]})
    assert one.over == "cells" and one.low < one.ratio < one.high
    alone = average_speedups({"a": [0.1]})
    assert alone.low is None and alone.high is None


def test_more_cells_of_the_same_models_do_not_buy_certainty():
    few = average_speedups({"a": [0.0] * 2, "b": [0.2] * 2, "c": [0.4] * 2})
    many = average_speedups({"a": [0.0] * 40, "b": [0.2] * 40, "c": [0.4] * 40})
    assert many.low == pytest.approx(few.low)


def test_the_interval_holds_the_truth_with_few_models():
    source = random.Random(1)
    held = 0
    for _ in range(400):
        logs = {}
        for model in range(4):
            effect = source.gauss(0.1, 0.2)
            logs[model] = [effect + source.gauss(0, 0.05) for _ in range(5)]
        mean = average_speedups(logs)
        held += mean.low <= math.exp(0.1) <= mean.high
    assert 0.92 <= held / 400 <= 0.98


def test_without_any_speedup_there_is_no_mean():
    summary = summarize(create_result(status="refused"), None)
    assert summary.mean is None and summary.mean_if_one is None


@pytest.mark.parametrize(
    "results, status",
    [
        ([create_result(), create_result(parity="equal within rounding")], 0),
        ([create_result(), create_result(1.0)], 0),  # a speed not told is no failure
        ([create_result(), create_result(parity="inconclusive")], 3),
        ([create_result(), None], 3),
        ([create_result(parity="inconclusive"), create_result(status="failed")], 4),
        ([create_result(status="refused"), create_result()], 4),
        ([create_result(status="timeout"), create_result(parity="different")], 1),
    ],
)
def test_the_exit_status_is_that_of_the_worst(results, status):
    assert choose_exit_status(summarize(*results)) == status
