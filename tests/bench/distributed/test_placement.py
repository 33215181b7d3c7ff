"""Cores are divided without overlap and evenly."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from oneflow_bench.bench.distributed.placement import CORES, are_disjoint, divide_cores


@pytest.mark.parametrize("cores", [1, 2, 3, 7, 8, 64])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 8])
def test_every_core_has_one_rank_and_no_rank_two_more_than_another(cores, ranks):
    given = list(range(100, 100 + cores))
    parts = divide_cores(given, ranks)
    assert len(parts) == ranks
    if ranks <= cores:
        assert sorted(core for part in parts for core in part) == given
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert are_disjoint(parts)
    else:
        assert parts == [given] * ranks
        assert not are_disjoint(parts)


def test_neighbouring_cores_stay_together_whatever_their_order():
    assert divide_cores([9, 2, 4, 0], 2) == [[0, 2], [4, 9]]


def test_a_process_keeps_to_the_cores_it_was_given():
    core = max(os.sched_getaffinity(0))
    code = (
        "import os; from oneflow_bench.bench.distributed.placement import keep_to_cores; "
        "keep_to_cores(os.environ); print(sorted(os.sched_getaffinity(0)))"
    )
    environment = {**os.environ, CORES: str(core)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True
    )
    assert done.stdout.decode().strip() == f"[{core}]"
