from __future__ import annotations

import pytest

from oneflow_bench.bench.config import Workload
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.tools.tune.candidates import (
    Facts,
    choose_settings,
    create_program,
    list_settings,
    read_facts,
)
from oneflow_bench.bench.worker.environment import KNOWN_VARIABLES

AVX512 = ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]
FULL = Facts(["avx2", "fma", *AVX512], 4, (2, 36), ["libjemalloc.so.2"], ["mkl", "openblas"])
BARE = Facts([], 1, (2, 31))


def names(mode="graph", feed="loader", facts=FULL, environment=None):
    return [setting.name for setting in list_settings(mode, feed, facts, environment or {})]


def test_settings_follow_the_machine():
    assert {"OPENBLAS_CORETYPE=Haswell", "OPENBLAS_CORETYPE=SkylakeX"} <= set(names())
    assert {"OMP_NUM_THREADS=4", "OMP_NUM_THREADS=1", "LD_PRELOAD=libjemalloc.so.2"} <= set(names())
    bare = names(facts=BARE)
    assert not any(name.startswith(("OPENBLAS", "GLIBC", "LD_PRELOAD")) for name in bare)
    assert bare.count("OMP_NUM_THREADS=1") == 1


def test_a_blas_that_is_found_is_tried_with_threads_that_spin_or_not_and_with_one():
    found = [s for s in list_settings("eager", "memory", FULL, {}) if s.blas]
    assert [s.name for s in found if s.blas == "mkl"] == [
        "--blas mkl", "--blas mkl KMP_BLOCKTIME=0", "--blas mkl MKL_NUM_THREADS=1",
    ]  # fmt: skip
    assert {s.family for s in found} == {"blas"} and {s.blas for s in found} == {"mkl", "openblas"}
    one_core = list_settings("eager", "memory", FULL._replace(cores=1), {})
    assert [s.name for s in one_core if s.blas] == ["--blas mkl", "--blas openblas"]
    assert create_program("eager", found[1:2], Workload()).contender.blas == "mkl"
    assert create_program("eager", [], Workload()).contender.blas is None


def test_another_variable_comes_before_another_value_of_one():
    eager = names("eager")
    first = [name.split("=")[0] for name in eager[: eager.index("OPENBLAS_CORETYPE=Zen")]]
    assert len(set(first)) == len(first)
    assert {"OPENBLAS_CORETYPE", "ONEFLOW_ENABLE_ONEDNN_OPTS", "OMP_NUM_THREADS"} <= set(first)


def test_each_mode_has_its_own_and_names_are_unique():
    eager, graph = names("eager"), names("graph")
    assert "ONEFLOW_VM_ENABLE_SCHEDULE_YIELD=0" in eager and "enable_amp=true" not in eager
    assert "allow_fuse_add_to_output=true" in graph and "--feed graph" in graph
    assert len(set(graph)) == len(graph) and len(set(eager)) == len(eager)


def test_the_loader_goes_inside_only_where_there_is_one_outside():
    assert "--feed graph" not in names(feed="memory") + names(feed="graph")


def test_what_the_user_has_set_is_not_searched():
    left = names(environment={"OMP_NUM_THREADS": "3", "MALLOC_MMAP_MAX_": "9"})
    assert not any("OMP_NUM_THREADS" in name or "MALLOC_MMAP_MAX_" in name for name in left)


def test_every_variable_that_is_tried_is_known_to_the_flag():
    for mode in ("eager", "graph"):
        for setting in list_settings(mode, "loader", FULL, {}):
            assert set(setting.variables) <= set(KNOWN_VARIABLES) and setting.why


def test_combinations():
    settings = [s for s in list_settings("graph", "loader", FULL, {})]
    chosen = [s for s in settings if s.name in ("OMP_NUM_THREADS=4", "enable_amp=true")]
    chosen += [s for s in settings if s.feed]
    program = create_program("graph", chosen, Workload(feed="loader"), "python3")
    assert program.contender.env == {"OMP_NUM_THREADS": "4"}
    assert program.contender.graph_options == {"enable_amp": True}
    assert program.contender.python == "python3" and program.contender.runtime == "stock"
    assert program.workload.feed == "graph" and "enable_amp=true" in program.name
    stock = create_program("graph", [], Workload(feed="loader"))
    assert stock.name == "stock" and stock.workload.feed == "loader"


def test_this_machine_can_be_read():
    facts = read_facts()
    assert facts.cores >= 1 and list_settings("eager", "memory", facts)


def test_user_settings_are_variables_or_options_and_come_first(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    tried = ["OMP_NUM_THREADS=1", "allow_fuse_add_to_output=true"]
    chosen = choose_settings(None, "memory", tried)
    threads, fuse = chosen["graph"][:2]
    assert threads.variables == {"OMP_NUM_THREADS": "1"} and threads.why == "given by --try"
    assert fuse.graph_options == {"allow_fuse_add_to_output": True} and fuse.modes == ("graph",)
    assert [setting.name for setting in chosen["graph"]].count("OMP_NUM_THREADS=1") == 1
    assert chosen["eager"][0] == threads and fuse not in chosen["eager"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("OMP_NUM_THREADS", "is not NAME=VALUE"),
        ("=1", "is not NAME=VALUE"),
        ("OMP_NUM_THREADS=", "is not NAME=VALUE"),
        ("OMP_NUM_THREAD=1", "did you mean OMP_NUM_THREADS"),
        ("QQQQ=1", "docs/tune.md lists"),
        ("MALLOC_ARENA_MAX=2", "unset MALLOC_ARENA_MAX"),
        ("enable_amp=true", "--mode eager has no graph"),
    ],
)
def test_user_settings_that_cannot_be_used(monkeypatch, text, said):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    with pytest.raises(InputError, match=said):
        choose_settings("eager", "memory", [text])


def test_patterns_select_and_a_useless_one_is_refused(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    every = choose_settings(None, "memory")
    assert every["graph"] == list_settings("graph", "memory", read_facts())
    chosen = choose_settings(None, "memory", [], ["OMP_*", "enable_amp*"])
    assert {s.family for s in chosen["graph"]} == {
        "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "enable_amp",
    }  # fmt: skip
    assert list(choose_settings(None, "memory", [], ["enable_amp*"])) == ["graph"]
    with pytest.raises(InputError, match="bench tune --list"):
        choose_settings("graph", "memory", [], ["NOTHING*"])
