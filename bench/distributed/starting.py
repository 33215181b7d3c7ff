"""Starts all ranks of a contender, on this machine or on the nodes of a Ray cluster."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from ..config import Contender
from ..errors import BenchError
from ..plan.plan import Plan
from ..training.identity import Identity
from ..worker import process as single
from ..worker.environment import RuntimeResolver
from ..worker.messages import Launcher, Worker
from ..worker.process import create_worker_command
from .group import NOTICE_S, RankGroup, RankProcess
from .merging import merge_answers
from .placement import (
    LOOPBACK,
    RANK,
    Address,
    Placement,
    create_placement_variables,
    divide_cores,
    divides_threads,
)
from .rendezvous import SHARED, OwnNetwork, PortReservation

if TYPE_CHECKING:
    from .cluster import Cluster


def create_launcher(
    folder: Path,
    environments: RuntimeResolver,
    module: str = RANK,
    cluster: Optional[Cluster] = None,
    plan: Optional[Plan] = None,
) -> Launcher:
    """As `worker.process.create_launcher`; a contender of several ranks becomes a `RankGroup`.

    Each rank runs `module`, on this machine; with a `cluster` on its nodes, which read the data of
    the `plan`.
    """
    launch_single = single.create_launcher(folder, environments)

    def launch(contender: Contender) -> Worker:
        if contender.ranks == 1:
            return launch_single(contender)
        if cluster is not None:
            assert plan is not None
            return start_cluster_group(cluster, contender, plan, folder)
        command = create_worker_command(contender.interpreter, module)
        environment = environments.resolve(contender, contender.interpreter)
        divide = divides_threads(contender, environments)
        return start_group(contender, command, environment, folder / "logs", divide)

    return launch


def start_group(
    contender: Contender,
    command: List[str],
    environment: Dict[str, str],
    logs: Path,
    divide_threads: bool,
) -> RankGroup:
    """The group of a contender on this machine; each rank has a log of its own in `logs`.

    The ranks run in a network of their own; where that is not possible, rank 0's log says so.
    `divide_threads` sets OMP_NUM_THREADS to the number of a rank's cores. Raises WorkerError if a
    rank cannot be started.
    """
    reservation, network = PortReservation(), OwnNetwork()
    hosts = [LOOPBACK] * contender.ranks
    cores = divide_cores(sorted(os.sched_getaffinity(0)), contender.ranks)
    members: List[Any] = []

    def release() -> None:
        reservation.release()
        network.release()

    try:
        if not network.prefix:
            logs.mkdir(parents=True, exist_ok=True)
            with open(logs / f"{contender.name}.rank-0.log", "a") as log:
                log.write(SHARED)
        for one in place_ranks(hosts, cores, reservation.address):
            variables = {**environment, **create_placement_variables(one, divide_threads)}
            start = [*network.prefix, *command]
            members.append(RankProcess(contender.name, one.identity, start, variables, logs))
    except (BenchError, OSError, KeyboardInterrupt):
        for member in members:
            member.kill()
            member.close()
        release()
        raise
    merge = partial(merge_answers, strategy=contender.strategy, cores=cores, hosts=hosts)
    return RankGroup(contender.name, members, merge, release)


def start_cluster_group(
    cluster: Cluster, contender: Contender, plan: Plan, folder: Path
) -> RankGroup:
    """The group of a contender on the nodes of a cluster, which divide their cores."""
    from .cluster_rank import start_cluster_ranks

    hosts = cluster.addresses
    cores = divide_hosts_cores(hosts, [node.cores for node in cluster.nodes])
    members = start_cluster_ranks(
        cluster, contender, plan, folder, partial(place_ranks, hosts, cores)
    )
    merge = partial(merge_answers, strategy=contender.strategy, cores=cores, hosts=hosts)
    return RankGroup(contender.name, members, merge, agree_s=NOTICE_S)


def divide_hosts_cores(hosts: Sequence[str], usable: Sequence[List[int]]) -> List[List[int]]:
    """The cores of each rank: those of its host, divided among the ranks there."""
    parts = {
        host: iter(divide_cores(cores, hosts.count(host))) for host, cores in zip(hosts, usable)
    }
    return [next(parts[host]) for host in hosts]


def place_ranks(
    hosts: Sequence[str], cores: Sequence[List[int]], master: Address
) -> List[Placement]:
    """The placement of each rank. Its local rank counts by the host that rank 0 sees.

    With other numbers OneFlow's ranks would wait for each other forever.
    """
    return [
        Placement(Identity(rank, len(hosts)), list(hosts[:rank]).count(host), master, own)
        for rank, (host, own) in enumerate(zip(hosts, cores))
    ]
