from __future__ import annotations

import os

import pytest
from fakes import parse_contender

import oneflow_bench.bench.distributed  # noqa: F401  registers its strategies and its report
from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.plan.contenders import parse_contenders, read_side

TWO = {"ranks": 2}


def names(*texts, **defaults):
    return [contender.name for contender in parse_contenders(texts, defaults)]


def test_a_mode_alone_is_a_contender():
    assert parse_contender("eager") == Contender(name="eager", mode="eager")
    assert parse_contender("graph") == Contender(name="graph", mode="graph")


def test_keys_become_fields_variables_and_graph_options():
    given = parse_contender(
        "graph, runtime=stock,name=mine,env.OMP_NUM_THREADS=1,allow_fuse_add_to_output=true,"
        "set_outputs_buffer_size=3,set_auto_parallel_wait_time=0.5,"
        "enable_straighten_algorithm=Disable,enable_amp=FALSE"
    )
    assert given == Contender(
        name="mine",
        mode="graph",
        runtime="stock",
        env={"OMP_NUM_THREADS": "1"},
        graph_options={
            "allow_fuse_add_to_output": True,
            "set_outputs_buffer_size": 3,
            "set_auto_parallel_wait_time": 0.5,
            "enable_straighten_algorithm": "Disable",
            "enable_amp": False,
        },
    )
    assert given.graph_options["allow_fuse_add_to_output"] is True


def test_a_quoted_value_may_hold_a_comma_and_an_equals_sign():
    given = parse_contender('eager,env.MALLOC_CONF="narenas:1,thp:always",env.A=b=c')
    assert given.env == {"MALLOC_CONF": "narenas:1,thp:always", "A": "b=c"}


def test_flags_hold_where_the_text_says_nothing():
    defaults = {"runtime": "stock", "device": "cpu"}
    eager, graph = parse_contenders(["eager", "graph,runtime=tuned"], defaults)
    assert (eager.runtime, graph.runtime) == ("stock", "tuned")


def test_a_runtime_profile_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "fast.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    given = parse_contender("graph,runtime=fast.json")
    assert given.runtime == str(tmp_path / "fast.json")


def test_a_blas_is_a_name_or_a_path_that_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "mkl.so").touch()
    monkeypatch.chdir(tmp_path)
    assert parse_contender("graph,blas=openblas").blas == "openblas"
    assert parse_contender("graph,blas=mkl.so").blas == str(tmp_path / "mkl.so")
    assert parse_contender("graph", read_side({"blas": "mkl.so"})).blas == str(tmp_path / "mkl.so")
    with pytest.raises(InputError, match="--blas none is neither mkl nor openblas"):
        read_side({"blas": "none"})


def test_an_interpreter_of_a_virtual_environment_stays_its_link(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "python"
    link.symlink_to("/bin/sh")
    assert parse_contender(f"eager,python={link}").python == str(link)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert parse_contender("eager,python=python").python == str(link)
    assert parse_contender("eager,python=none").python == os.path.abspath("none")


@pytest.mark.parametrize(
    "texts, expected",
    [
        (["eager", "graph"], ["eager", "graph"]),
        (["eager,runtime=stock", "graph,runtime=stock"], ["eager", "graph"]),
        (["eager,runtime=stock", "graph"], ["eager-stock", "graph"]),
        (["eager", "eager"], ["eager", "eager-2"]),
        (["eager", "graph", "graph,allow_fuse_add_to_output=true"],
         ["eager", "graph", "graph-fuse_add_to_output"]),
        (["graph,enable_amp=true", "graph,enable_amp=false"], ["graph-amp", "graph-amp=false"]),
        (["graph", "graph,env.OMP_NUM_THREADS=1"], ["graph", "graph-OMP_NUM_THREADS=1"]),
        (["eager", "eager,python=/envs/old/bin/python"], ["eager", "eager-old"]),
        (["eager,python=/a/v/bin/python", "eager,python=/b/v/bin/python"],
         ["eager-v", "eager-v-2"]),
        (["eager", "eager,blas=mkl"], ["eager", "eager-mkl"]),
        (["eager", "eager,dtype=float64"], ["eager", "eager-float64"]),
        (["eager", "ddp,ranks=2", "graph-dp,ranks=2"], ["eager", "ddp", "graph-dp"]),
        (["eager", "eager,ranks=2", "graph,ranks=2"], ["eager", "ddp", "graph-dp"]),
        (["eager", "graph-dp,ranks=2", "graph-dp,ranks=2,accumulation_steps=2"],
         ["eager", "graph-dp", "graph-dp-accumulation_steps=2"]),
        (["ddp,ranks=2", "ddp,ranks=4"], ["ddp-ranks=2", "ddp-ranks=4"]),
        (["eager,name=eager-2", "eager", "eager"], ["eager-2", "eager", "eager-3"]),
        (["graph", "graph,env.X=/a b/c:d"], ["graph", "graph-X=_a_b_c_d"]),
        (["graph", "graph,env.X=" + "y" * 99], ["graph", "graph-X=" + "y" * 32]),
        (["graph,env.X=" + "y" * 99, "graph,env.X=" + "y" * 98],
         ["graph-X=" + "y" * 32, "graph-X=" + "y" * 32 + "-2"]),
        (["graph", "graph,env.OPENBLAS_CORETYPE=SkylakeX,env.ONEFLOW_ENABLE_ONEDNN_OPTS=0"],
         ["graph", "graph-OPENBLAS_CORETYPE=SkylakeX"]),
    ],
)  # fmt: skip
def test_names_say_what_sets_contenders_apart(texts, expected):
    assert names(*texts) == expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "empty place or an open quote; give MODE,KEY=VALUE"),
        ("eager,,name=x", "empty place"),
        ("eager,", "empty place"),
        ('eager,env.A="x', "open quote"),
        ("eagre", "begins with 'eagre' .*a mode .eager, graph. or with a .*; did you mean eager"),
        ("runtime=stock,eager", "begins with 'runtime=stock'"),
        ("eager,stock", "'stock' is not KEY=VALUE"),
        ("eager,runtime=", "'runtime=' is not KEY=VALUE"),
        ("eager,runtime=stock,runtime=tuned", "gives runtime twice"),
        ("eager,runtme=stock", "unknown key 'runtme'; did you mean runtime"),
        (
            "eager,qqq=1",
            "unknown key 'qqq'; known are accumulation_steps, blas, device, dtype",
        ),
        ("eager,runtime=tunde", "is neither tuned nor stock nor a file .*did you mean tuned"),
        ("eager,blas=mlk", "blas=mlk is neither mkl nor openblas nor a file .*did you mean mkl"),
        ("eager,blas=/none.so", "nor a file that is there; give the path of a library"),
        ("eager,device=gpu", "device=gpu cannot be used; it is one of cpu, cuda"),
        ("eager,dtype=half", "dtype=half cannot be used; it is one of float32, float64"),
        ("graph,dtype=float64", "no float64 kernel; use eager"),
        ("eager,name=a/b", "name=a/b cannot be used; a name has at most 40 letters"),
        ("eager,name=..", "cannot be used"),
        ("eager,name=" + "x" * 41, "at most 40"),
        ("eager,env.=1", "'env.' names no variable"),
        ("eager,env.A-B=1", "'env.A-B' names no variable"),
        ("eager,allow_fuse_add_to_output=true", "has no effect on eager"),
        ("dpd", "strategy of several ranks .ddp, eager-global, graph-dp, graph-tp, graph-pp"),
        ("graph-db,ranks=2", "did you mean graph-dp"),
        (
            "ddp",
            "no number of ranks was given; give --ranks 2 .or ddp,ranks=2., or begin with eager",
        ),
        ("graph-tp,ranks=1", "one rank was given; .* or begin with graph"),
        ("ddp,ranks=0", "ranks=0 cannot be used; give a whole number from 1"),
        ("ddp,ranks=two", "ranks=two cannot be used"),
        ("ddp,ranks=\u0662", "cannot be used"),
        ("eager,accumulation_steps=-1", "accumulation_steps=-1 cannot be used"),
        ("ddp,ranks=2,device=cuda", "2 ranks with device=cuda have never been run"),
        ("eager,ranks=2,dtype=float64", "dtype=float64 is the reference of one process"),
        ("ddp,ranks=2,allow_fuse_add_to_output=true", "has no effect on eager"),
        ("ddp,ranks=2,strategy=global", "unknown key 'strategy'"),
    ],
)
def test_what_is_not_understood_is_one_sentence_with_a_remedy(text, message):
    with pytest.raises(InputError, match=message) as info:
        parse_contender(text)
    assert "\n" not in str(info.value) and info.value.exit_status == 2


def test_a_name_is_given_once():
    with pytest.raises(InputError, match="two contenders are called x"):
        names("eager,name=x", "graph,name=x")


@pytest.mark.parametrize(
    "word, mode, strategy",
    [
        ("ddp", "eager", "ddp"),
        ("eager-global", "eager", "global"),
        ("graph-dp", "graph", "dp"),
        ("graph-tp", "graph", "tp"),
        ("graph-pp", "graph", "pp"),
        ("graph-zero", "graph", "zero"),
        ("eager,ranks=2", "eager", "ddp"),
        ("graph,ranks=2", "graph", "dp"),
    ],
)
def test_a_strategy_is_a_mode_in_several_ranks(word, mode, strategy):
    given = parse_contender(word, TWO)
    assert (given.mode, given.strategy, given.ranks) == (mode, strategy, 2)


def test_the_usual_ranks_are_of_strategies_and_give_way_to_what_is_typed():
    eager, ddp, four = parse_contenders(["eager", "ddp", "graph-dp,ranks=4"], TWO)
    assert (eager.ranks, eager.strategy) == (1, None)
    assert (ddp.ranks, four.ranks) == (2, 4)


def test_one_rank_of_a_mode_is_the_mode():
    assert parse_contender("eager,ranks=1") == Contender(name="eager", mode="eager")


def test_the_parts_of_a_batch_may_be_a_contender_s_own():
    given = parse_contender("graph-dp,accumulation_steps=2", TWO)
    assert (given.accumulation_steps, given.ranks) == (2, 2)
