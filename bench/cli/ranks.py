"""The flags of several processes and machines, and the launcher that they ask for."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Sequence

import click

from ..config import Contender
from ..distributed.machines.coordinator import coordinate_run
from ..distributed.machines.join_run import join_run
from ..distributed.machines.nodes import Nodes, check_contenders_of_nodes, parse_nodes
from ..distributed.starting import create_launcher
from ..errors import EXIT_DONE
from ..plan.plan import Plan
from ..plan.resolve import RankRequest
from ..record.run import Document
from ..worker.environment import RuntimeResolver
from ..worker.messages import Launcher

_MACHINES = ("nodes", "node_rank", "master", "token")


class Ranks(NamedTuple):
    """The processes of a run, as its flags ask for them."""

    request: RankRequest
    nodes: Nodes

    def check(self, contenders: Sequence[Contender]) -> None:
        """Raise InputError for contenders that cannot run on several machines."""
        check_contenders_of_nodes(self.nodes, contenders)

    @contextmanager
    def open_launcher(
        self, plan: Plan, document: Document, folder: Path, environments: RuntimeResolver
    ) -> Iterator[Launcher]:
        """Starts the contenders here and on the other machines of the run.

        A machine that is not machine 0 does its part and leaves the command: the record and the
        report are machine 0's.
        """
        show = partial(click.echo, err=True)
        if self.nodes.node_rank > 0:
            own = folder.with_name(f"{folder.name}-node-{self.nodes.node_rank}")
            join_run(self.nodes, plan, document, own, environments, show)
            raise click.exceptions.Exit(EXIT_DONE)
        with coordinate_run(self.nodes, document, folder, show) as others:
            yield create_launcher(folder, environments, nodes=others)


def take_ranks(flags: Dict[str, Any]) -> Ranks:
    """Take these flags out of the others. A command without them asks for one process.

    Raises InputError for machines that do not fit together.
    """
    nodes = parse_nodes(flags)
    for name in _MACHINES:
        flags.pop(name, None)
    request = RankRequest(
        ranks=flags.pop("ranks", None),
        oversubscribe=flags.pop("oversubscribe", False),
        weak=flags.pop("weak", False),
        machines=nodes.nodes,
    )
    return Ranks(request, nodes)
