"""The flags of a run in several ranks. Only eager, graph and compare have them."""

from __future__ import annotations

from typing import Any, Dict

import click

from ..distributed.machines.nodes import parse_nodes
from ..plan.arrangement import RankRequest
from .options import decorated, field_option

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


def take_rank_request(flags: Dict[str, Any]) -> RankRequest:
    """Take these flags out of the others. A command without them asks for one process.

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
