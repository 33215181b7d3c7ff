"""Cores are divided without overlap and evenly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oneflow_bench.bench.distributed.placement import (
    CORES,
    Address,
    create_rank_variables,
    divide_cores,
    place_ranks,
    reserve_port,
)
from oneflow_bench.bench.training.identity import Identity


@pytest.mark.parametrize("cores", [1, 2, 3, 7, 8, 64])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8])
def test_every_core_has_one_rank_and_no_rank_two_more_than_another(cores, ranks):
    given = list(range(100, 100 + cores))
    parts = divide_cores(given, ranks)
    assert len(parts) == ranks
    if ranks <= cores:
        assert sorted(core for part in parts for core in part) == given
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    else:
        assert parts == [given] * ranks


def test_neighbouring_cores_stay_together_whatever_their_order():
    assert divide_cores([9, 2, 4, 0], 2) == [[0, 2], [4, 9]]


def test_a_rank_keeps_to_the_cores_it_was_given():
    core, (address, reserved) = max(os.sched_getaffinity(0)), reserve_port()
    code = (
        "import os; from oneflow_bench.bench.distributed.worker import join_group; "
        "join_group(os.environ); print(sorted(os.sched_getaffinity(0)))"
    )
    variables = create_rank_variables(Identity(0, 2), address, local_rank=0)
    environment = {**os.environ, **variables, CORES: str(core)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True
    )
    reserved.close()
    assert done.stdout.decode().strip() == f"[{core}]"


def test_the_ranks_of_a_host_divide_its_cores_and_count_by_it():
    hosts = ["a", "b", "a"]
    placed = place_ranks(hosts, [[0, 1, 2], [0, 1], [0, 1, 2]], Address("a", 1))
    assert [one.local_rank for one in placed] == [0, 0, 1]
    assert [one.identity.rank for one in placed] == [0, 1, 2]
    assert [one.cores for one in placed] == [[0], [0, 1], [1, 2]]
    assert [one.host for one in placed] == hosts


def test_the_environment_of_a_node_is_its_parents():
    code = (
        "import os; from oneflow_bench.bench.distributed.node import read_node_environment as read;"
        "os.environ['OMP_NUM_THREADS'] = '77';"  # after the start, as Ray does
        "print(read().get('OMP_NUM_THREADS'), read().get('PATH'))"
    )
    told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout
    number, path = told.rstrip(b"\n").split(b" ", 1)
    ours = Path(f"/proc/{os.getpid()}/environ").read_bytes()
    assert number != b"77" and b"PATH=" + path in ours.split(b"\0")
