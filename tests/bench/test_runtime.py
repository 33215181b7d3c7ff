from __future__ import annotations

import pytest

from oneflow_bench import runtime
from oneflow_bench.config import Contender
from oneflow_bench.runtime import RuntimeResolver, needs_core_type


@pytest.fixture
def old_blas(monkeypatch):
    """A BLAS that takes Barcelona's kernel unless told another; who asked it, and of what."""
    asked = []

    def probe(python, environment):
        asked.append(python)
        return environment.get("OPENBLAS_CORETYPE", "Barcelona")

    monkeypatch.setattr(runtime, "find_blas_kernel", probe)
    monkeypatch.setattr(runtime, "read_cpu", lambda: {"flags": ["avx2", "fma"]})
    return asked


@pytest.mark.parametrize(
    "kernel, flags, expected",
    [
        ("Barcelona", ["avx2", "fma"], True),
        ("Prescott", ["avx2", "fma"], True),
        ("Haswell", ["avx2", "fma"], False),
        ("SkylakeX", ["avx2", "fma", "avx512f"], False),
        ("Barcelona", ["sse2"], False),
        (None, ["avx2", "fma"], False),
    ],
)
def test_core_type_is_needed_where_avx2_lies_idle(kernel, flags, expected):
    assert needs_core_type(kernel, flags) is expected


def test_stock_changes_nothing(old_blas):
    base = {"PATH": "/bin"}
    resolved = RuntimeResolver(base).resolve(
        Contender(name="a", mode="eager", runtime="stock"), "python"
    )
    assert resolved == base and not old_blas


def test_tuned_sets_its_variables_and_asks_once(old_blas):
    resolver = RuntimeResolver({"PATH": "/bin"})
    contender = Contender(name="a", mode="eager")
    for _ in range(2):
        resolved = resolver.resolve(contender, "python")
    assert resolved["OPENBLAS_CORETYPE"] == "Haswell"
    assert resolved["ONEFLOW_ENABLE_ONEDNN_OPTS"] == "0"
    assert int(resolved["OMP_NUM_THREADS"]) >= 1
    assert old_blas == ["python"]


def test_the_users_variables_and_the_contenders_win(old_blas):
    resolver = RuntimeResolver({"OPENBLAS_CORETYPE": "Zen", "OMP_NUM_THREADS": "1"})
    resolved = resolver.resolve(
        Contender(name="a", mode="eager", env={"ONEFLOW_ENABLE_ONEDNN_OPTS": "1"}), "python"
    )
    assert resolved["OPENBLAS_CORETYPE"] == "Zen"
    assert resolved["OMP_NUM_THREADS"] == "1"
    assert resolved["ONEFLOW_ENABLE_ONEDNN_OPTS"] == "1"


def test_the_kernel_a_contender_runs_on_is_asked_in_its_own_environment(old_blas):
    resolver = RuntimeResolver({"PATH": "/bin"})
    kernels = {
        name: resolver.find_kernel(Contender(name=name, mode="eager", runtime=name), "python")
        for name in ("stock", "tuned")
    }
    assert kernels == {"stock": "Barcelona", "tuned": "Haswell"}
    assert len(old_blas) == 2
