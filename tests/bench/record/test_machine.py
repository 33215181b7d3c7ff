from __future__ import annotations

import hashlib
import importlib
import sys

import pytest

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.record.machine import (
    digest_code,
    find_changed_code,
    read_available_bytes,
    read_memory_bytes,
    read_oom_kills,
)


@pytest.mark.parametrize(
    "text, kills",
    [("pgfault 5\noom_kill 12\n", 12), ("pgfault 5\n", None), ("oom_kill many\n", None)],
)
def test_the_kernels_count_of_kills_is_read_where_it_is(tmp_path, text, kills):
    (tmp_path / "vmstat").write_text(text)
    assert read_oom_kills(tmp_path / "vmstat") == kills


def test_no_counter_is_no_count(tmp_path):
    assert read_oom_kills(tmp_path / "missing") is None


def test_memory_is_read_in_bytes_or_is_unknown(tmp_path):
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:       2048 kB\nMemFree: 3 kB\nMemAvailable:   1024 kB\n")
    assert (read_memory_bytes(path), read_available_bytes(path)) == (2**21, 2**20)
    path.write_text("MemTotal:\nMemAvailable: much\n")
    assert read_memory_bytes(path) is None and read_available_bytes(path) is None
    assert read_available_bytes(tmp_path / "missing") is None


def test_the_users_code_is_its_file_and_what_that_imports_beside_it(tmp_path, monkeypatch):
    (tmp_path / "layers_of_mine.py").write_text("SIZE = 3\n")
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "steps.py").write_text("import json\nimport layers_of_mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_package", "my_package.steps", "layers_of_mine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.import_module("my_package.steps")
    found = digest_code(Workload(model="my_package.steps:step"))
    assert set(found) == {"layers_of_mine.py", "my_package/__init__.py", "my_package/steps.py"}
    assert found["layers_of_mine.py"] == hashlib.sha256(b"SIZE = 3\n").hexdigest()
    assert digest_code(Workload(optimizer="my_package.steps:make")) == found
    assert digest_code(Workload(model="oneflow_bench.models:lenet")) == {}
    assert find_changed_code(found) == []
    (tmp_path / "layers_of_mine.py").write_text("SIZE = 4\n")
    (package / "__init__.py").unlink()
    assert sorted(find_changed_code(found)) == ["layers_of_mine.py", "my_package/__init__.py"]
