"""The flags of a run in several ranks: of eager, graph and compare, and of no other command."""

from __future__ import annotations

from typing import Any, Dict

import click

from ..distributed.machines.nodes import parse_nodes
from ..plan.arrangement import RankRequest
from .options import Command, decorated

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


def take_rank_request(flags: Dict[str, Any]) -> RankRequest:
    """Take these flags out of the others; a command without them asks for one process.

    Raises InputError for machines that do not fit together.
    """
    nodes = parse_nodes(flags)
    for name in ("nodes", "node_rank", "master", "token"):
        flags.pop(name, None)
    return RankRequest(
        ranks=flags.pop("ranks", None),
        oversubscribe=flags.pop("oversubscribe", False),
        weak=flags.pop("weak", False),
        nodes=nodes,
    )
