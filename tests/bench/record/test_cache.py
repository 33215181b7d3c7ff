from __future__ import annotations

from pathlib import Path

import pytest

from oneflow_bench.bench.record.run import find_cache_folder


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({"BENCH_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/oneflow-bench"),
        ({"HOME": "/h"}, "/h/.cache/oneflow-bench"),
        ({"BENCH_CACHE_DIR": "", "HOME": "/h"}, None),
        ({"BENCH_CACHE_DIR": "here", "HOME": "/h"}, None),
    ],
)
def test_the_folder_is_the_one_chosen_or_the_users(variables, expected, monkeypatch):
    for name in ("BENCH_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_cache_folder() == (None if expected is None else Path(expected))
