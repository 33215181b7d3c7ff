"""The flags of a run in several ranks. Only eager, graph and compare have them."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, NamedTuple

import click

from ..distributed.machines.nodes import Nodes, parse_nodes
from ..distributed.machines.nodes import check_contenders_of_nodes as check_nodes
from ..errors import EXIT_DONE
from ..plan.resolve import RankRequest
from .options import decorated, field_option

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from ..record.run import Document
    from ..worker.environment import RuntimeResolver
    from ..worker.messages import Launcher

__all__ = ["check_nodes"]

ranks_option = field_option("ranks")
nodes_option = click.option(
    "--nodes", type=click.IntRange(1), default=None, metavar="M", help="Machines. Default: 1."
)
master_option = click.option(
    "--master", default=None, metavar="HOST:PORT", help="Address of machine 0 for the others."
)
oversubscribe_option = click.option(
    "--oversubscribe", is_flag=True, help="Allow more ranks than this machine has usable cores."
)
node_rank_option = click.option(
    "--node-rank", type=click.IntRange(0), default=None, metavar="K",
    help="Number of this machine, from 0. See bench launch --plan.",
)  # fmt: skip
token_option = click.option(
    "--token", default=None, envvar="BENCH_TOKEN", metavar="WORD",
    help="Word that all machines of the run share. Default: the variable BENCH_TOKEN.",
)  # fmt: skip
weak_option = click.option(
    "--weak", is_flag=True, help="Measure weak scaling, speed only. One process takes the batch of "
    "one rank.",
)  # fmt: skip
# the flags of a run in several ranks
rank_options = decorated(
    [
        ranks_option,
        oversubscribe_option,
        nodes_option,
        node_rank_option,
        master_option,
        token_option,
    ]
)


class RankFlags(NamedTuple):
    """The flags of several processes."""

    request: RankRequest
    nodes: Nodes


def take_rank_flags(flags: Dict[str, Any]) -> RankFlags:
    """Take these flags out of the others. A command without them asks for one process.

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
