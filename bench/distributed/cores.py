"""Which processor cores each rank of a group may use.

A contender of several ranks divides the cores that a contender of one process has to itself, and
has no core more. Neither side is favoured: only one contender has its turn at a time, each may use
all cores of the machine in it, and the record says which rank used which. Ranks are kept apart
because two that share a core and wait for each other measure the scheduler; a single process is
left to spread over all cores, as its user would run it.
"""

from __future__ import annotations

import os
from typing import List, Mapping, Sequence

VARIABLE = "BENCH_RANK_CORES"  # of a rank, separated by commas


def divide_cores(cores: Sequence[int], ranks: int) -> List[List[int]]:
    """The cores of each rank: disjoint, neighbours together, their numbers one apart at most.

    With more ranks than cores every rank may use all of them.
    """
    ordered = sorted(cores)
    if ranks > len(ordered):
        return [list(ordered) for _ in range(ranks)]
    bounds = [rank * len(ordered) // ranks for rank in range(ranks + 1)]
    return [ordered[start:end] for start, end in zip(bounds, bounds[1:])]


def are_disjoint(cores: Sequence[Sequence[int]]) -> bool:
    """True where no two ranks may use the same core."""
    return len({core for part in cores for core in part}) == sum(map(len, cores))


def format_cores(cores: Sequence[int]) -> str:
    """As they stand in a rank's environment."""
    return ",".join(map(str, cores))


def keep_to_cores(environment: Mapping[str, str]) -> None:
    """Hold this process and the threads it will start to its cores, if it was given some."""
    cores = environment.get(VARIABLE)
    if cores:
        os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
