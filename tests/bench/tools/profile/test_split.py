"""The thread that computes, and the parts of a layer, on real OneFlow."""

from __future__ import annotations

import os
import time

import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.bench.tools.profile import alone
from oneflow_bench.bench.tools.profile.alone import find_computing_thread, measure_span
from oneflow_bench.bench.tools.profile.layers import profile_layers

pytestmark = pytest.mark.oneflow


def test_the_thread_that_computes_is_not_the_one_that_asks():
    thread = find_computing_thread()
    assert thread.path.rsplit("/", 1)[1] != str(os.getpid())
    idle = measure_span(lambda: time.sleep(0.05), thread)
    assert idle.wall_s >= 0.05 and idle.computing_s < 0.04
    left = flow.randn(512, 512)
    assert measure_span(lambda: flow.matmul(left, left), thread).computing_s > 0


def test_a_system_that_counts_no_thread_times_leaves_it_unknown(monkeypatch, tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text("7 (a b) R " + "0 " * 40)
    monkeypatch.setattr(alone, "_TASKS", str(tmp_path))
    monkeypatch.setattr(alone, "_LONGEST_FINDING_S", 0.0)
    assert find_computing_thread().path is None


def test_products_and_im2col_are_measured_layer_by_layer():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, (3, 1), stride=2, dilation=1, groups=2),
        nn.Flatten(),
        nn.Linear(48, 2),
    )
    thread = find_computing_thread()
    with profile_layers(model, thread=thread) as profile:
        for _ in range(2):
            model(flow.randn(2, 3, 8, 8)).sum().backward()
    first, norm, grouped, _, linear = profile.layers
    assert len(first.forward_computing_s) == 2 and len(first.backward_computing_s) == 7
    assert all(computing <= wall for computing, wall in zip(
        (*first.forward_computing_s, *first.backward_computing_s),
        (*first.forward_s, *first.backward_s),
    ))  # fmt: skip
    split = profile.measure_split()
    assert [one["im2col_s"] is not None for one in split] == [True, False, True, False, False]
    assert [len(one["products"]) for one in split] == [2, 0, 3, 0, 3]
    assert all(p["time_s"] >= 0 for one in split for p in one["products"])
    assert grouped.products[0].count == 4 and linear.products[0].shape[3:] == [2, 2, 48]
    assert norm.products == []


def test_without_the_thread_only_products_are_timed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    with profile_layers(model) as profile:
        model(flow.randn(1, 3, 4, 4)).sum().backward()
    assert profile.layers[0].forward_computing_s == []
    (split,) = profile.measure_split()
    assert split["im2col_s"] is None and split["products"][0]["time_s"] is not None
