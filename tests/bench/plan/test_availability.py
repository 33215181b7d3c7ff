"""Strategies that cannot be had are known by version and device."""

from __future__ import annotations

import pytest

from oneflow_bench.bench.plan.contenders import parse_contenders
from oneflow_bench.bench.plan.resolve import explain_zero, split_available


@pytest.mark.parametrize(
    "version, device, aborts",
    [("0.9.0", "cpu", True), ("0.8.0", "cpu", True), ("0.9.0", "cuda", False),
     ("0.9.1.dev20240101", "cpu", True), ("0.10.0", "cpu", False), ("1.0.0", "cpu", False)],
)  # fmt: skip
def test_zero_is_refused_where_it_was_seen_to_abort(version, device, aborts):
    assert (explain_zero(version, device) is not None) is aborts


def test_another_interpreters_oneflow_is_left_to_its_worker(tmp_path):
    specs = ["eager", "ddp", f"graph-zero,python={tmp_path}/python"]
    found = split_available(parse_contenders(specs, {"ranks": 2}))
    assert len(found.contenders) == 3
    assert found.unavailable == {}
