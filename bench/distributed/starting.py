"""Starts all ranks of a contender, on this machine and on the other machines of the run."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ..config import Contender
from ..errors import BenchError
from ..training.identity import Identity
from ..worker import process as single
from ..worker.environment import TUNED, RuntimeResolver
from ..worker.messages import Launcher, Worker
from ..worker.process import create_worker_command
from .group import RankGroup, RankProcess, create_title
from .machines.node_server import NodeServer
from .merging import merge_answers
from .placement import (
    THREADS,
    Placement,
    RankStart,
    create_placement_variables,
    divide_cores,
)
from .rendezvous import PortReservation

RANK = "oneflow_bench.bench.distributed.worker"  # the module that a rank's process runs


def create_launcher(
    folder: Path,
    environments: RuntimeResolver,
    module: str = RANK,
    nodes: Optional[NodeServer] = None,
) -> Launcher:
    """As `worker.process.create_launcher`; a contender of several ranks becomes a `RankGroup`.

    Each rank runs `module`. The ranks are divided among this machine and the `nodes`.
    """
    launch_single = single.create_launcher(folder, environments)

    def launch(contender: Contender) -> Worker:
        if contender.ranks == 1:
            return launch_single(contender)
        command = create_worker_command(contender.interpreter, module)
        environment = environments.resolve(contender, contender.interpreter)
        divide = divides_threads(contender, environments)
        return start_group(contender, command, environment, folder / "logs", divide, nodes)

    return launch


def divides_threads(contender: Contender, environments: RuntimeResolver) -> bool:
    """Whether each rank gets as many threads as cores: if nobody has set the number of threads."""
    given = {**environments.base, **contender.env}
    return contender.runtime == TUNED and THREADS not in given


def start_group(
    contender: Contender,
    command: List[str],
    environment: Dict[str, str],
    logs: Path,
    divide_threads: bool,
    nodes: Optional[NodeServer] = None,
) -> RankGroup:
    """The group of a contender; each rank has a log of its own in `logs`.

    `divide_threads` sets OMP_NUM_THREADS to the number of a rank's cores. With `nodes`, each
    machine runs the same number of ranks. Raises WorkerError if a rank cannot be started.
    """
    others = [] if nodes is None else nodes.others
    each = contender.ranks // (1 + len(others))
    machines = [sorted(os.sched_getaffinity(0)), *(node.cores for node in others)]
    cores = [own for usable in machines for own in divide_cores(usable, each)]
    reservation = PortReservation() if nodes is None else PortReservation(nodes.host)
    hosts = [reservation.address.host, *(node.address for node in others)]
    placements = [
        Placement(Identity(rank, contender.ranks), local_rank, reservation.address, own)
        for rank, (local_rank, own) in enumerate(zip(count_local_ranks(hosts, each), cores))
    ]
    members: List[Any] = []
    try:
        for one in placements[:each]:
            variables = {**environment, **create_placement_variables(one, divide_threads)}
            members.append(RankProcess(contender.name, one.identity, command, variables, logs))
        if nodes is not None:
            members += nodes.start_ranks(
                [create_title(contender.name, one.identity) for one in placements[each:]],
                [node for node in others for _ in range(each)],
                [
                    RankStart(placement=one, contender=contender).model_dump(mode="json")
                    for one in placements[each:]
                ],
            )
    except (BenchError, OSError, KeyboardInterrupt):
        for member in members:
            member.kill()
            member.close()
        reservation.release()
        raise
    return RankGroup(
        contender.name,
        members,
        partial(merge_answers, strategy=contender.strategy, cores=cores, nodes=1 + len(others)),
        reservation.release,
    )


def count_local_ranks(hosts: Sequence[str], each: int) -> List[int]:
    """Each rank's number on its host, as OneFlow counts: by the address that rank 0 sees.

    With other numbers the ranks would wait for each other forever. A host may stand for two
    machines; each machine has `each` ranks.
    """
    spread = [host for host in hosts for _ in range(each)]
    return [spread[:rank].count(host) for rank, host in enumerate(spread)]
