"""A command that is told must make the run again, so it is parsed by the command line itself."""

from __future__ import annotations

import shlex

import pytest
from fakes import create_document

from oneflow_bench.bench import distributed  # noqa: F401 - registers the strategies
from oneflow_bench.bench.cli import bench
from oneflow_bench.bench.config import STEP_DATA, Contender
from oneflow_bench.bench.plan.contenders import parse_contenders
from oneflow_bench.bench.plan.plan import create_plan, split_flags
from oneflow_bench.bench.report.commands import spell_command


def parse(told, defaults=None):
    """The flags that were given, as the command reads them: workload, measuring, contenders."""
    words = shlex.split(told)
    assert words[0] == "bench"
    command = bench.get_command(None, words[1])
    flags = command.make_context(words[1], words[2:]).params
    specs = [flags.pop("baseline", words[1]), *(flags.pop("contenders", None) or [])]
    workload, measuring, side = split_flags({**flags})
    given = {name: value for name, value in workload.items() if value is not None}
    return given, measuring, parse_contenders(specs, {**side, "ranks": flags["ranks"]})


def test_every_setting_comes_back():
    document = create_document(("eager", "graph"))
    document.command = "compare"
    settings = {
        "model": "package.module:a model", "model_args": {"depth": 40, "wide": True}, "lr": 0.125,
        "data": "/data/a folder", "augmentation": False, "schedule": "multistep",
        "lr_milestones": [2, 3], "clip_norm": 1.5, "nesterov": True, "epochs": 3,
    }  # fmt: skip
    document.workload = document.workload.model_copy(update=settings)
    measuring = {"speed": True, "until": 0.03, "budget_s": 120.0, "label": "nightly"}
    document.measuring = document.measuring.model_copy(update=measuring)
    document.contenders = [
        Contender(name="eager", mode="eager", runtime="stock", env={"A": "1,2"}),
        Contender(
            name="fused", mode="graph", blas="mkl", graph_options={"allow_fuse_add_to_output": True}
        ),
    ]
    given, read, contenders = parse(spell_command(document))
    defaults = type(document.workload)().model_dump()
    changed = {k: v for k, v in document.workload.model_dump().items() if v != defaults[k]}
    given["lr_milestones"] = list(given["lr_milestones"])
    assert {name: given.get(name) for name in changed} == changed
    assert read.model_dump(include=set(measuring)) == measuring
    assert contenders == document.contenders


def test_a_training_step_is_an_argument():
    document = create_document(("eager", "graph"))
    document.command = "compare"
    document.workload = create_plan({"model": "my_file:gpt", "data": STEP_DATA, "lr": 0.5}).workload
    told = spell_command(document)
    assert told.startswith("bench compare my_file:gpt --") and "--model" not in told
    assert "--data" not in told and "--lr 0.5" in told and "--batch-size" not in told


def test_what_the_run_did_not_read_is_not_told():
    document = create_document(("eager", "graph"))
    settings = {"optimizer": "adam", "momentum": 0.5, "data": "synthetic", "feed": "memory"}
    document.workload = document.workload.model_copy(update=settings)
    told = spell_command(document)
    assert "--optimizer adam" in told and "--momentum" not in told and "--feed" not in told


def test_a_setting_that_is_a_default_is_not_told():
    document = create_document(("eager", "graph"))
    document.command = "compare"
    document.workload = type(document.workload)()
    document.measuring = type(document.measuring)(speed=True)
    document.contenders = [Contender(name=mode, mode=mode) for mode in ("eager", "graph")]
    assert spell_command(document) == "bench compare --baseline eager --contender graph"


def test_ranks_and_weak_scaling_come_back():
    document = create_document(("eager", "graph"))
    document.command = "compare"
    document.contenders = [
        Contender(name="eager", mode="eager", batch_size=16),
        Contender(name="two", mode="graph", strategy="dp", ranks=2),
        Contender(name="reference", mode="eager", reference=True),
    ]
    told = spell_command(document)
    assert "--weak" in told and "reference" not in told
    _, _, (alone, two) = parse(told)
    assert (alone.mode, alone.ranks) == ("eager", 1)
    assert (two.name, two.mode, two.strategy, two.ranks) == ("two", "graph", "dp", 2)


@pytest.mark.parametrize("command", ["eager", "graph"])
def test_a_run_of_one_mode_and_a_resumed_one(command):
    document = create_document((command,))
    document.command = command
    document.contenders = [Contender(name=command, mode=command, runtime="stock")]
    update = {"resume": "results/before", "epochs": 9, "lr": 0.5}
    document.workload = document.workload.model_copy(update=update)
    given, _, (contender,) = parse(spell_command(document))
    assert (given["resume"], given["epochs"], given.get("lr")) == ("results/before", 9, None)
    assert contender.runtime == "stock"
