from __future__ import annotations

import json
import os
import sys

import pytest

from oneflow_bench.bench.worker import blas_kernel
from oneflow_bench.bench.worker.blas_kernel import (
    Answer,
    find_blas_kernel,
    parse_blas_kernel,
    parse_libraries,
)

MARKER = "oneflow-bench: numpy is loaded"
CPU = {"model name": "A", "stepping": "1", "flags": "avx2 fma", "cpu MHz": "2000"}


@pytest.fixture
def blas(tmp_path, monkeypatch):
    """A BLAS of one library, whose answers are counted, and a memory of its own.

    `python` finds a NumPy and a OneFlow that cannot be imported, so that it would be noticed.
    """
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("numpy", "oneflow"):
        (packages / f"{name}.py").write_text("raise SystemExit('imported')\n")
    library = tmp_path / "libblas.so"
    library.write_text("1")
    monkeypatch.setenv("BENCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(blas_kernel, "read_cpuinfo", lambda: CPU)

    class Blas:
        environment = {"PYTHONPATH": str(packages), "PATH": os.environ["PATH"]}
        answer = Answer("Barcelona", [str(library)])
        asked = 0

        def find(self, **variables):
            return find_blas_kernel(sys.executable, {**self.environment, **variables})

    found = Blas()
    found.packages, found.library, found.cache = packages, library, tmp_path / "cache"

    def probe(python, environment):
        found.asked += 1
        return found.answer

    monkeypatch.setattr(blas_kernel, "probe_blas", probe)
    return found


def test_the_kernel_is_the_one_named_after_numpys():
    output = f"Core: SkylakeX\n{MARKER}\nCore: Barcelona\nlibibverbs not available\n"
    assert parse_blas_kernel(output) == "Barcelona"


@pytest.mark.parametrize("output", ["", "Core: Haswell\n", f"Core: Haswell\n{MARKER}\nno more"])
def test_a_silent_blas_has_no_kernel(output):
    assert parse_blas_kernel(output) is None


def test_the_libraries_are_those_that_the_probe_lists():
    assert parse_libraries('x\noneflow-bench: libraries: ["/a.so", "/b.so.1"]\ny\n') == [
        "/a.so",
        "/b.so.1",
    ]
    assert parse_libraries("nothing") == []


def test_a_python_that_does_not_exist_gives_no_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE_DIR", str(tmp_path / "cache"))
    assert find_blas_kernel("no-such-python", {}) is None
    assert not (tmp_path / "cache").exists()


def test_the_same_question_is_asked_once(blas):
    assert [blas.find(), blas.find(), blas.find(HOME="/elsewhere")] == ["Barcelona"] * 3
    assert blas.asked == 1
    (kept,) = blas.cache.iterdir()
    assert json.loads(kept.read_text())["kernel"] == "Barcelona"


@pytest.mark.parametrize(
    "name", ["OPENBLAS_CORETYPE", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "ONEFLOW_X"]
)
def test_a_variable_that_may_steer_it_makes_another_question(blas, name):
    blas.find()
    blas.answer = Answer("Haswell", blas.answer.libraries)
    assert blas.find(**{name: "1"}) == "Haswell"
    assert blas.find() == "Barcelona"
    assert blas.asked == 2


def change_oneflow(blas, monkeypatch):
    (blas.packages / "oneflow.py").write_text("raise SystemExit('another version')\n")


def change_place(blas, monkeypatch):
    """Another OneFlow comes first on the search path."""
    nearer = blas.packages / "nearer"
    nearer.mkdir()
    (nearer / "oneflow.py").write_text("raise SystemExit('imported')\n")
    (blas.packages / "sitecustomize.py").write_text(
        f"import sys; sys.path.insert(0, {str(nearer)!r})\n"
    )


def change_library(blas, monkeypatch):
    os.utime(blas.library, (1, 1))


def remove_library(blas, monkeypatch):
    blas.library.unlink()


def change_processor(blas, monkeypatch):
    monkeypatch.setattr(blas_kernel, "read_cpuinfo", lambda: {**CPU, "stepping": "2"})


@pytest.mark.parametrize(
    "change", [change_oneflow, change_place, change_library, remove_library, change_processor]
)
def test_a_change_makes_it_ask_again(blas, monkeypatch, change):
    blas.find()
    change(blas, monkeypatch)
    blas.answer = Answer("Haswell", [sys.executable])
    assert blas.find() == "Haswell"
    assert blas.asked == 2


def test_the_clock_of_the_processor_is_no_change(blas, monkeypatch):
    blas.find()
    monkeypatch.setattr(blas_kernel, "read_cpuinfo", lambda: {**CPU, "cpu MHz": "3000"})
    blas.find()
    assert blas.asked == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"question": 1, "kernel": "Zen"}'])
def test_a_damaged_memory_is_asked_and_written_anew(blas, text):
    blas.find()
    (kept,) = blas.cache.iterdir()
    whole = kept.read_text()
    kept.write_text(text)
    assert blas.find() == "Barcelona"
    assert blas.asked == 2
    assert kept.read_text() == whole


def test_the_answer_to_another_question_is_not_taken(blas):
    blas.find()
    (kept,) = blas.cache.iterdir()
    stored = json.loads(kept.read_text())
    stored["question"]["interpreter"]["version"] = "another"
    kept.write_text(json.dumps({**stored, "kernel": "Zen"}))
    assert blas.find() == "Barcelona"


def no_answer(blas, monkeypatch):
    blas.answer = None


def no_libraries(blas, monkeypatch):
    blas.answer = Answer("Barcelona", [])


def unknown_processor(blas, monkeypatch):
    monkeypatch.setattr(blas_kernel, "read_cpuinfo", dict)


def no_oneflow(blas, monkeypatch):
    (blas.packages / "oneflow.py").unlink()
    blas.environment = {**blas.environment, "PYTHONNOUSERSITE": "1"}
    (blas.packages / "sitecustomize.py").write_text(
        "import sys; sys.path[:] = [p for p in sys.path if not p.endswith('site-packages')]\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'ditable' not in repr(f)]\n"
    )


def told_not_to(blas, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE_DIR", "")


def not_writable(blas, monkeypatch):
    blas.cache.write_text("a file where the folder would be")


@pytest.mark.parametrize(
    "prepare",
    [no_answer, no_libraries, unknown_processor, no_oneflow, told_not_to, not_writable],
)
def test_what_cannot_be_told_or_kept_is_asked_each_time(blas, monkeypatch, prepare):
    prepare(blas, monkeypatch)
    expected = blas.answer.kernel if blas.answer else None
    assert [blas.find(), blas.find()] == [expected] * 2
    assert blas.asked == 2
    assert not blas.cache.is_dir()


@pytest.mark.parametrize(
    "variables, folder",
    [
        ({"BENCH_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/oneflow-bench"),
        ({"HOME": "/h"}, "/h/.cache/oneflow-bench"),
    ],
)
def test_the_folder_is_the_users(monkeypatch, variables, folder):
    for name in ("BENCH_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(blas_kernel.locate_memory({"a": 1}).parent) == folder


@pytest.mark.oneflow
def test_a_remembered_answer_is_what_oneflow_says(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE_DIR", str(tmp_path))
    environment = {**os.environ, "OPENBLAS_CORETYPE": "Haswell"}
    assert find_blas_kernel(sys.executable, environment) == "Haswell"
    (kept,) = tmp_path.iterdir()
    libraries = json.loads(kept.read_text())["libraries"]
    assert any("oneflow" in path for path in libraries)
    monkeypatch.setattr(blas_kernel, "probe_blas", None)  # not asked again
    assert find_blas_kernel(sys.executable, environment) == "Haswell"
