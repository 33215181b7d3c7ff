"""The place of a rank: its number, its machine's cores, and the address of rank 0.

`import oneflow` reads MASTER_ADDR, MASTER_PORT, WORLD_SIZE, RANK and LOCAL_RANK.

The ranks of a contender divide the cores that a contender of one process has to itself, and get
none more. Neither side has an advantage: only one contender has its turn at a time and may use all
cores of the machine in it. The record lists the cores of each rank. The ranks have different cores,
because two ranks that share a core and wait for each other would measure the scheduler. A single
process may use all cores, as its user would run it.
"""

from __future__ import annotations

import os
from typing import Dict, List, Mapping, NamedTuple, Sequence

from ..config import Contender
from ..training.identity import Identity
from ..worker.environment import TUNED, RuntimeResolver

RANK = "oneflow_bench.bench.distributed.worker"  # the module that a rank's process runs
CORES = "BENCH_RANK_CORES"  # of a rank, separated by commas
THREADS = "OMP_NUM_THREADS"
LOOPBACK = "127.0.0.1"


class Address(NamedTuple):
    """The address at which rank 0, or the head of a cluster, listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Placement(NamedTuple):
    identity: Identity
    local_rank: int  # among the ranks that rank 0 sees at one address
    master: Address  # of rank 0
    cores: List[int]  # that it may use, of its machine


def divide_cores(cores: Sequence[int], ranks: int) -> List[List[int]]:
    """The cores of each rank: disjoint and contiguous; their numbers differ by one at most.

    If there are more ranks than cores, every rank may use all of them.
    """
    ordered = sorted(cores)
    if ranks > len(ordered):
        return [list(ordered) for _ in range(ranks)]
    bounds = [rank * len(ordered) // ranks for rank in range(ranks + 1)]
    return [ordered[start:end] for start, end in zip(bounds, bounds[1:])]


def keep_to_cores(environment: Mapping[str, str]) -> None:
    """Hold this process and its future threads to the cores that its environment lists."""
    cores = environment.get(CORES)
    if cores:
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])


def create_rank_variables(identity: Identity, master: Address, local_rank: int) -> Dict[str, str]:
    """The variables that OneFlow reads; `local_rank` counts the ranks of one machine."""
    return {
        "MASTER_ADDR": master.host,
        "MASTER_PORT": str(master.port),
        "WORLD_SIZE": str(identity.ranks),
        "RANK": str(identity.rank),
        "LOCAL_RANK": str(local_rank),
    }


def read_master(environment: Mapping[str, str]) -> Address:
    return Address(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))


def create_placement_variables(placement: Placement, divide_threads: bool) -> Dict[str, str]:
    """The variables of a rank, in addition to those of its contender."""
    return {
        **create_rank_variables(placement.identity, placement.master, placement.local_rank),
        CORES: ",".join(map(str, placement.cores)),
        **({THREADS: str(len(placement.cores))} if divide_threads else {}),
    }


def divides_threads(contender: Contender, environments: RuntimeResolver) -> bool:
    """Whether each rank gets as many threads as cores: if nobody has set the number of threads."""
    given = {**environments.base, **contender.env}
    return contender.runtime == TUNED and THREADS not in given
