"""Starts all ranks of a contender, on this machine or on the nodes of a Ray cluster."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Sequence

from ..config import Contender
from ..plan.plan import Plan
from ..worker import process as single
from ..worker.environment import RuntimeResolver
from ..worker.messages import Launcher, Worker
from ..worker.process import WorkerProcess, create_worker_command
from .group import NOTICE_S, RankGroup, merge_answers
from .placement import LOOPBACK, SHARED, OwnNetwork, Placement, create_rank_environment, place_ranks
from .worker import STACK_SIGNAL

if TYPE_CHECKING:
    from .cluster import Cluster


RANK = "oneflow_bench.bench.distributed.worker"  # the module that a rank's process runs


class RankProcess(WorkerProcess):
    """A rank on this machine."""

    def write_stack(self) -> None:
        """Make the rank write its Python stack to its log, if it still can."""
        if self.exit_status is None:
            os.kill(self.pid, STACK_SIGNAL)


def create_title(contender: Contender, placement: Placement) -> str:
    """The name of a rank in errors, with its node in a cluster."""
    title = f"rank {placement.identity.rank} of the worker '{contender.name}'"
    return title if placement.host == LOOPBACK else f"{title} on node {placement.host}"


def start_rank(
    contender: Contender,
    placement: Placement,
    environments: RuntimeResolver,
    logs: Path,
    module: str = RANK,
    prefix: Sequence[str] = (),
) -> RankProcess:
    """A rank that runs `module` here; the kernel ends it with this process.

    `prefix` begins its command. Raises WorkerError if it cannot be started.
    """
    name = f"{contender.name}.rank-{placement.identity.rank}"
    command = [*prefix, *create_worker_command(contender.interpreter, module)]
    variables = create_rank_environment(contender, placement, environments)
    title = create_title(contender, placement)
    return RankProcess(name, command, variables, logs / f"{name}.log", title)


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
        if cluster is None:
            return start_group(contender, environments, folder / "logs", module)
        assert plan is not None
        return start_cluster_group(cluster, contender, plan, folder)

    return launch


def start_group(
    contender: Contender, environments: RuntimeResolver, logs: Path, module: str
) -> RankGroup:
    """The group of a contender on this machine; each rank has a log of its own in `logs`.

    The ranks run in a network of their own; where that is not possible, rank 0's log says so.
    Raises WorkerError if a rank cannot be started.
    """
    network = OwnNetwork()

    def start(one: Placement) -> Any:
        rank = start_rank(contender, one, environments, logs, module, network.prefix)
        if one.identity.rank == 0 and not network.prefix:
            with open(rank.log_path, "a") as log:
                log.write(SHARED)
        return rank

    hosts, cores = [LOOPBACK] * contender.ranks, sorted(os.sched_getaffinity(0))
    placements = place_ranks(hosts, [cores] * contender.ranks, network.address)
    return _form_group(contender, placements, start, release=network.release)


def start_cluster_group(
    cluster: Cluster, contender: Contender, plan: Plan, folder: Path
) -> RankGroup:
    """The group of a contender on the nodes of a cluster, which divide their cores."""
    from .cluster import ClusterRank, wait_for_ranks

    actors = [cluster.create_actor(rank) for rank in range(contender.ranks)]
    hosts, cores = zip(*((node.address, node.cores) for node in cluster.nodes))
    placements = place_ranks(hosts, cores, cluster.reserve_port(actors[0]))

    def start(one: Placement) -> Any:
        title, actor = create_title(contender, one), actors[one.identity.rank]
        return ClusterRank(cluster, actor, title, contender, one, plan, folder.resolve())

    return _form_group(contender, placements, start, agree_s=NOTICE_S, wait=wait_for_ranks)


def _form_group(
    contender: Contender,
    placements: Sequence[Placement],
    start: Callable[[Placement], Any],
    **options: Any,
) -> RankGroup:
    """A `RankGroup` with these options; where a member cannot be started, none is left."""
    members: List[Any] = []
    merge = partial(merge_answers, strategy=contender.strategy, placements=placements)
    group = RankGroup(contender.name, members, merge, **options)
    try:
        for one in placements:
            members.append(start(one))
    except BaseException:
        group.kill()
        group.close()
        raise
    return group
