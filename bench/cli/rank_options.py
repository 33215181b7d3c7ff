"""The flags of a run in several ranks: of eager, graph and compare, and of no other command."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, NamedTuple

import click

from ..distributed.machines.nodes import Nodes, parse_nodes
from ..distributed.machines.nodes import check_contenders_of_nodes as check_nodes
from ..errors import EXIT_DONE
from ..plan.resolve import RankRequest
from .options import Command, decorated

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from ..record.run import Document
    from ..worker.environment import RuntimeResolver
    from ..worker.messages import Launcher

__all__ = ["check_nodes"]

ranks_option = click.option(
    "--ranks", type=click.IntRange(1), default=None, metavar="N",
    help="Processes that train together, of all machines; in bench compare of the contenders "
    "that begin with a strategy, such as ddp. Default: 1.",
)  # fmt: skip
nodes_option = click.option(
    "--nodes", type=click.IntRange(1), default=None, metavar="M", help="Machines. Default: 1."
)
master_option = click.option(
    "--master", default=None, metavar="HOST:PORT", help="Where machine 0 is reached by the others."
)
_RANK_OPTIONS = [
    ranks_option,
    click.option("--oversubscribe", is_flag=True,
                 help="Allow more ranks than this machine has usable cores."),
    nodes_option,
    click.option("--node-rank", type=click.IntRange(0), default=None, metavar="K",
                 help="Which of the machines this is, from 0; see bench launch --plan."),
    master_option,
    click.option("--token", default=None, envvar="BENCH_TOKEN", metavar="WORD",
                 help="Shared by the machines; of BENCH_TOKEN where it is not given."),
]  # fmt: skip
weak_option = click.option(
    "--weak",
    is_flag=True,
    help="Weak scaling, speed only: one process takes the batch of one rank.",
)


def rank_options(command: Command) -> Command:
    """Decorator: the flags of a run in several ranks."""
    return decorated(command, _RANK_OPTIONS)


class RankFlags(NamedTuple):
    """What the flags say of several processes."""

    request: RankRequest
    nodes: Nodes


def take_rank_flags(flags: Dict[str, Any]) -> RankFlags:
    """Take these flags out of the others; a command without them asks for one process.

    Raises InputError for machines that do not fit together.
    """
    nodes = parse_nodes(flags)
    for name in ("nodes", "node_rank", "master", "token"):
        flags.pop(name, None)
    request = RankRequest(
        ranks=flags.pop("ranks", None),
        oversubscribe=flags.pop("oversubscribe", False),
        weak=flags.pop("weak", False),
        machines=nodes.nodes,
    )
    return RankFlags(request, nodes)


@contextmanager
def open_launcher(
    nodes: Nodes, plan: Plan, document: Document, folder: Path, environments: RuntimeResolver
) -> Iterator[Launcher]:
    """How the contenders of several ranks are started, here and on the other machines of the run.

    A machine that is not machine 0 does its part and leaves the command: the record and the report
    are machine 0's.
    """
    from ..distributed.machines.coordinator import coordinate_run
    from ..distributed.starting import create_launcher

    if nodes.node_rank > 0:
        from ..distributed.machines.join_run import join_run

        own = folder.with_name(f"{folder.name}-node-{nodes.node_rank}")
        join_run(nodes, plan, document, own, environments, _show)
        raise click.exceptions.Exit(EXIT_DONE)
    with coordinate_run(nodes, document, folder, _show) as others:
        yield create_launcher(folder, environments, nodes=others)


def _show(line: str) -> None:
    click.echo(line, err=True)
