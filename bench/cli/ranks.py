"""The flags of several processes and of a cluster, and the launcher that they ask for."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Optional, Sequence

import click

from ..config import Contender
from ..distributed.starting import create_launcher
from ..errors import InputError
from ..plan.modes import count_ranks
from ..plan.plan import Plan
from ..plan.resolve import RankRequest
from ..record.run import Document
from ..worker.environment import RuntimeResolver
from ..worker.messages import Launcher


class Ranks(NamedTuple):
    """The processes of a run, as its flags ask for them."""

    request: RankRequest
    cluster: Optional[str]  # the address of its head, or auto; None: this machine alone
    placement: str

    def check(self, contenders: Sequence[Contender]) -> None:
        """Raise InputError for contenders that cannot run on a cluster."""
        if self.cluster is None:
            return
        if count_ranks(contenders) == 1:
            raise InputError(
                f"--cluster {self.cluster} was given and no contender trains in several ranks; "
                "give --ranks, such as --ranks 2 --contender ddp"
            )
        for one in contenders:
            if one.python is not None:
                raise InputError(
                    f"contender {one.name} has python={one.python}, which is a path of one "
                    "machine, and --cluster was given; run Ray with that interpreter everywhere"
                )

    @contextmanager
    def open_launcher(
        self,
        plan: Plan,
        document: Document,
        folder: Path,
        contenders: Sequence[Contender],
        environments: RuntimeResolver,
    ) -> Iterator[Launcher]:
        """Starts the contenders of one process here, and ranks here or on the cluster."""
        if self.cluster is None:
            yield create_launcher(folder, environments)
            return
        from ..distributed.cluster import Cluster

        ranks, show = count_ranks(contenders), partial(click.echo, err=True)
        with Cluster(self.cluster, ranks, self.placement, show) as cluster:
            document.environment_start["nodes"] = [
                {"rank": rank, "address": node.address, **node.machine}
                for rank, node in enumerate(cluster.nodes)
            ]
            yield create_launcher(folder, environments, cluster=cluster, plan=plan)


def take_ranks(flags: Dict[str, Any]) -> Ranks:
    """Take these flags out of the others. A command without them asks for one process."""
    cluster, placement = flags.pop("cluster", None), flags.pop("placement", None)
    if placement is not None and cluster is None:
        raise InputError(
            f"--placement {placement} was given without --cluster; one machine has one place"
        )
    request = RankRequest(
        ranks=flags.pop("ranks", None),
        oversubscribe=flags.pop("oversubscribe", False),
        weak=flags.pop("weak", False),
        usable_cores=None if cluster else len(os.sched_getaffinity(0)),
    )
    return Ranks(request, cluster, placement or "spread")
