from __future__ import annotations

import pytest

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.worker import environment as runtime
from oneflow_bench.bench.worker.environment import RuntimeResolver, needs_core_type
from oneflow_bench.bench.worker.runtime_profile import (
    ProfileMachine,
    ProfileVariables,
    RuntimeProfile,
    save_runtime_profile,
)


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


def test_a_blas_is_preloaded_and_chooses_its_own_kernel(old_blas, tmp_path):
    library = tmp_path / "libblis.so.4"
    library.touch()
    contender = Contender(name="a", mode="eager", blas=str(library))
    resolver = RuntimeResolver({"PATH": "/bin"})
    resolved = resolver.resolve(contender, "python")
    assert resolved["LD_PRELOAD"] == resolved["BENCH_BLAS"] == str(library)
    assert "OPENBLAS_CORETYPE" not in resolved and "OMP_NUM_THREADS" in resolved
    assert resolver.find_kernel(contender, "python") == "libblis.so.4"
    assert "LD_PRELOAD" not in resolver.resolve(Contender(name="b", mode="eager"), "python")
    own = contender.model_copy(update={"env": {"OPENBLAS_CORETYPE": "Zen", "LD_PRELOAD": "a.so"}})
    resolved = resolver.resolve(own, "python")
    assert resolved["LD_PRELOAD"] == f"{library}:a.so" and resolved["OPENBLAS_CORETYPE"] == "Zen"


def test_a_blas_that_is_not_there_is_refused_before_anything_runs(old_blas):
    contender = Contender(name="a", mode="eager", blas="/none/libblis.so")
    for ask in ("resolve", "complete", "find_kernel"):
        with pytest.raises(InputError, match="blas=/none/libblis.so is not there"):
            getattr(RuntimeResolver({}), ask)(contender, "python")


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """The path of a profile that was made on this machine."""
    here = ProfileMachine(processor="Zen 3", cores=2, oneflow="0.9.0")
    monkeypatch.setattr(runtime, "describe_profile_machine", lambda python: here)
    path = tmp_path / "runtime.json"
    save_runtime_profile(
        path,
        RuntimeProfile(
            machine=here,
            variables=ProfileVariables(
                eager={"OMP_PLACES": "eager", "OMP_DYNAMIC": "1"}, graph={"OMP_PLACES": "graph"}
            ),
            graph_options={"allow_fuse_add_to_output": True, "set_outputs_buffer_size": 3},
        ),
    )
    return path


def contender_of(path, mode, **fields):
    return Contender(name=mode, mode=mode, runtime=str(path), **fields)


def test_a_profile_sets_the_variables_of_the_mode_and_nothing_else(profile, old_blas):
    resolver = RuntimeResolver({"PATH": "/bin", "OMP_DYNAMIC": "mine"})
    eager = resolver.resolve(contender_of(profile, "eager", env={"C": "2"}), "python")
    assert eager == {"PATH": "/bin", "OMP_DYNAMIC": "mine", "OMP_PLACES": "eager", "C": "2"}
    graph = resolver.resolve(contender_of(profile, "graph"), "python")
    assert graph == {"PATH": "/bin", "OMP_DYNAMIC": "mine", "OMP_PLACES": "graph"}
    assert not old_blas


def test_a_profiles_graph_options_stand_below_the_contenders_own(profile):
    resolver = RuntimeResolver({})
    own = contender_of(profile, "graph", graph_options={"set_outputs_buffer_size": 2})
    assert resolver.complete(own, "python").graph_options == {
        "allow_fuse_add_to_output": True,
        "set_outputs_buffer_size": 2,
    }
    eager = contender_of(profile, "eager")
    assert resolver.complete(eager, "python") is eager
    tuned = Contender(name="graph", mode="graph")
    assert resolver.complete(tuned, "python") is tuned


def test_a_profile_of_another_machine_or_interpreter_is_refused(profile, monkeypatch):
    def describe(python):
        version = "0.8.0" if python == "other" else "0.9.0"
        return ProfileMachine(processor="Zen 3", cores=2, oneflow=version)

    monkeypatch.setattr(runtime, "describe_profile_machine", describe)
    resolver = RuntimeResolver({})
    resolver.resolve(contender_of(profile, "graph"), "python")
    with pytest.raises(InputError, match="OneFlow 0.9.0 and not 0.8.0"):
        resolver.resolve(contender_of(profile, "graph"), "other")
    with pytest.raises(InputError, match="no runtime profile at tuend"):
        resolver.resolve(contender_of("tuend", "eager"), "python")


def test_another_interpreter_finds_the_sources_and_the_blas_is_asked_without(old_blas, monkeypatch):
    asked = []
    monkeypatch.setattr(
        runtime, "find_blas_kernel", lambda python, environment: asked.append(environment) or "Zen"
    )
    resolver = RuntimeResolver({"PYTHONPATH": "/mine"})
    contender = Contender(name="a", mode="eager", python="/other/python")
    path = resolver.resolve(contender, "/other/python")["PYTHONPATH"]
    assert path.endswith(":/mine") and "oneflow-bench-sources" in path
    resolver.find_kernel(contender, "/other/python")
    assert asked and all(each["PYTHONPATH"] == "/mine" for each in asked)
    plain = resolver.resolve(Contender(name="b", mode="eager"), "python")
    assert plain["PYTHONPATH"] == "/mine"


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONPATH", "LD_LIBRARY_PATH", "MINE"])
def test_a_profile_sets_no_variable_that_can_load_code_unasked(tmp_path, monkeypatch, name):
    here = ProfileMachine(processor="cpu", cores=1, oneflow="0.9.0")
    monkeypatch.setattr(runtime, "describe_profile_machine", lambda python: here)
    path = tmp_path / "runtime.json"
    variables = ProfileVariables(eager={name: "evil.so"})
    save_runtime_profile(path, RuntimeProfile(machine=here, variables=variables))
    with pytest.raises(InputError, match=f"sets {name}=evil.so.* env.{name}=evil.so"):
        RuntimeResolver({}).resolve(contender_of(path, "eager"), "python")
    for base, own in (({name: "evil.so"}, {}), ({}, {name: "evil.so"})):
        resolved = RuntimeResolver(base).resolve(contender_of(path, "eager", env=own), "python")
        assert resolved == {name: "evil.so"}
