"""`bench launch`: the command of each machine of a run over several of them."""

from __future__ import annotations

import json
import secrets
from typing import Tuple

import click

from ..errors import EXIT_DONE, InputError
from .options import master_option, nodes_option, ranks_option


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--plan", is_flag=True, help="Print the command of each machine.")
@nodes_option
@ranks_option
@master_option
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND...")
def launch(
    plan: bool, nodes: int, ranks: int, master: str, as_json: bool, command: Tuple[str, ...]
) -> int:
    """Print the exact command to run on each of several machines. Nothing is started.

    The commands share a new token, which keeps other processes out of the run. COMMAND is
    eager, graph or compare with its own flags. It stands last.

    \b
    bench launch --plan --nodes 2 --ranks 4 --master 10.0.0.1:29500 eager
    bench launch --plan --nodes 2 --ranks 4 --master node0:29500 compare --contender ddp
    """
    from ..distributed.machines.nodes import plan_starts, render_starts

    if not plan:
        raise InputError(
            "bench launch starts nothing by itself; give --plan, and run the printed commands on "
            "the machines"
        )
    if ranks is None or nodes is None:
        flag = "--ranks" if ranks is None else "--nodes"
        such = "--nodes 2 --ranks 4 --master 10.0.0.1:29500"
        raise InputError(f"bench launch --plan needs {flag}; give such as {such}")
    starts = plan_starts(nodes, ranks, master, command, secrets.token_hex(16))
    dumped = [start._asdict() for start in starts]
    click.echo(json.dumps(dumped, indent=1) if as_json else render_starts(starts))
    return EXIT_DONE
