from __future__ import annotations

import pytest

from oneflow_bench.machine import read_oom_kills


@pytest.mark.parametrize(
    "text, kills",
    [("pgfault 5\noom_kill 12\n", 12), ("pgfault 5\n", None), ("oom_kill many\n", None)],
)
def test_the_kernels_count_of_kills_is_read_where_it_is(tmp_path, text, kills):
    (tmp_path / "vmstat").write_text(text)
    assert read_oom_kills(tmp_path / "vmstat") == kills


def test_no_counter_is_no_count(tmp_path):
    assert read_oom_kills(tmp_path / "missing") is None
