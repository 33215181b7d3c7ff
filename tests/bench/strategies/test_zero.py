from __future__ import annotations

import pytest


@pytest.mark.oneflow
@pytest.mark.parametrize(
    "version, device, expected",
    [("0.9.0", "cpu", True), ("0.8.0", "cpu", True), ("0.9.0", "cuda", False),
     ("0.9.1.dev20240101", "cpu", True), ("0.10.0", "cpu", False), ("1.0.0", "cpu", False)],
)  # fmt: skip
def test_zero_is_refused_where_it_was_seen_to_abort(version, device, expected):
    from oneflow_bench.strategies.zero import aborts

    assert aborts(version, device) is expected
