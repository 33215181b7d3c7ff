from __future__ import annotations

import shlex

import pytest

from oneflow_bench.bench.config import Contender
from oneflow_bench.bench.distributed.machines.nodes import (
    Nodes,
    check_contenders_of_nodes,
    parse_nodes,
    plan_starts,
    render_starts,
)
from oneflow_bench.bench.errors import InputError

MASTER = "10.0.0.1:29500"


def flags(**given):
    return {"nodes": 2, "node_rank": 1, "master": MASTER, "token": "t", "ranks": 4, **given}


def test_nothing_said_is_one_machine():
    assert parse_nodes({}) == Nodes(1, 0, None, None)
    assert parse_nodes({"nodes": 1, "node_rank": 0, "ranks": 3}) == Nodes(1, 0, None, None)


def test_machines_have_a_rank_and_a_master():
    assert parse_nodes(flags()) == Nodes(2, 1, "10.0.0.1", 29500, "t")
    assert parse_nodes(flags(master="node-0.local:1")).host == "node-0.local"


@pytest.mark.parametrize(
    "given, words",
    [
        ({"node_rank": 2}, "--node-rank 2 is not below --nodes 2; .*give 0 to 1"),
        ({"node_rank": None}, "needs --node-rank.*bench launch --plan"),
        ({"nodes": None, "master": None}, "--node-rank 1 is not below --nodes 1"),
        ({"nodes": None, "node_rank": None}, "--master .* has no effect on one machine"),
        ({"ranks": None}, "needs --ranks.*none were given; give --ranks 2, for example"),
        ({"ranks": 3}, "a multiple of 2, and --ranks 3 is not; give --ranks 2, for example"),
        ({"ranks": 1}, "--ranks 1 is not; give --ranks 2, for example"),
        ({"master": None}, "needs --master HOST:PORT"),
        ({"token": None}, "needs --token, .* bench launch --plan makes one"),
        ({"token": ""}, "needs --token"),
        *(
            ({"master": master}, "is not HOST:PORT")
            for master in ("10.0.0.1", "10.0.0.1:", ":29500", "h:0", "h:65536", "h:x", "a b:1",
                           "h:1:2", "-h:1", "http://h:1")
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_one_sentence(given, words):
    with pytest.raises(InputError, match=words) as info:
        parse_nodes(flags(**given))
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"python": "/opt/other/bin/python"}, "python=/opt/other/bin/python, which is a path of"),
        ({"ranks": 3}, "contender ddp has 3 ranks, which 2 machines cannot share"),
    ],
)
def test_a_contender_that_machines_cannot_share_is_refused(fields, words):
    eager = Contender(name="eager", mode="eager")
    ddp = Contender(**{"name": "ddp", "mode": "eager", "strategy": "ddp", "ranks": 2, **fields})
    check_contenders_of_nodes(parse_nodes({}), [eager, ddp])
    with pytest.raises(InputError, match=words):
        check_contenders_of_nodes(parse_nodes(flags()), [eager, ddp])


def test_every_machine_has_its_command_and_all_ranks_are_somewhere():
    command = ["compare", "--contender", "ddp", "--out", "my run"]
    starts = plan_starts(2, 4, MASTER, command, "t")
    assert [start.ranks for start in starts] == [[0, 1], [2, 3]]
    shown = render_starts(starts).splitlines()
    assert shown[0] == "# machine 0 of 2 (the master): ranks 0, 1"
    for number, line in enumerate((shown[1], shown[3])):
        words = shlex.split(line)
        assert words[:6] == ["bench", *command]
        said = dict(zip(words[6::2], words[7::2]))
        assert said == {
            "--ranks": "4",
            "--nodes": "2",
            "--node-rank": str(number),
            "--master": MASTER,
            "--token": "t",
        }


@pytest.mark.parametrize(
    "command, words",
    [
        ([], "was given nothing to start"),
        (["check"], "was given 'check' to start"),
        (["compare", "--ranks", "2"], "--ranks stands behind compare"),
        (["eager", "--node-rank=1"], "--node-rank stands behind eager"),
    ],
)
def test_a_command_that_cannot_be_planned_is_refused(command, words):
    with pytest.raises(InputError, match=words):
        plan_starts(2, 4, MASTER, command, "t")
