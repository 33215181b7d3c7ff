"""Several machines: their flags, and the command that starts each of them."""

from __future__ import annotations

import re
import shlex
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ...config import Contender
from ...errors import InputError

COMMANDS = ("eager", "graph", "compare")  # that take --ranks
_FLAGS = ("--ranks", "--nodes", "--node-rank", "--master", "--token")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_LAST_PORT = 65535


class Nodes(NamedTuple):
    """The machines of a run, and the rank of this one; one machine alone has no master."""

    nodes: int
    node_rank: int  # from 0
    host: Optional[str]  # of the master, which is machine 0
    port: Optional[int]
    token: str = ""  # the same on all machines of a run


class Start(NamedTuple):
    """The start of one machine."""

    node_rank: int
    ranks: List[int]  # of that machine
    command: List[str]


def parse_nodes(flags: Mapping[str, Any]) -> Nodes:
    """The machines from the flags of the command line; None means "not given".

    Raises InputError for flags that are impossible or do not fit together.
    """
    nodes, node_rank = flags.get("nodes") or 1, flags.get("node_rank")
    master, ranks = flags.get("master"), flags.get("ranks")
    if node_rank is not None and not 0 <= node_rank < nodes:
        raise InputError(
            f"--node-rank {node_rank} is not below --nodes {nodes}; machines are counted from 0, "
            f"so give 0 to {nodes - 1}"
        )
    if nodes == 1:
        if master is not None:
            raise InputError(
                f"--master {master} has no effect on one machine; give --nodes too, or leave it out"
            )
        return Nodes(1, 0, None, None)
    if ranks is None or ranks % nodes:
        given = "none were given" if ranks is None else f"--ranks {ranks} is not"
        raise InputError(
            f"--nodes {nodes} needs --ranks, of all machines together, a multiple of {nodes}, and "
            f"{given}; give --ranks {max(nodes, (ranks or 0) // nodes * nodes)}, for example"
        )
    if master is None:
        raise InputError(
            f"--nodes {nodes} needs --master HOST:PORT, where machine 0 is reached by the others; "
            "give its address and a free port"
        )
    if node_rank is None:
        raise InputError(
            f"--nodes {nodes} needs --node-rank, which of the machines this is, from 0; "
            "bench launch --plan prints the command of each"
        )
    host, port = _parse_master(master)
    token = flags.get("token")
    if not token:
        raise InputError(
            f"--nodes {nodes} needs --token, the same on every machine, so that no other joins; "
            "bench launch --plan makes one"
        )
    return Nodes(nodes, node_rank, host, port, token)


def _parse_master(master: str) -> Tuple[str, int]:
    host, _, port = master.rpartition(":")
    is_number = port.isascii() and port.isdigit()
    if not (_HOST.fullmatch(host) and is_number and 0 < int(port) <= _LAST_PORT):
        raise InputError(
            f"--master {master} is not HOST:PORT; give a name or an address and a port from 1 to "
            f"{_LAST_PORT}, such as 10.0.0.1:29500"
        )
    return host, int(port)


def check_contenders_of_nodes(nodes: Nodes, contenders: Sequence[Contender]) -> None:
    """Raise InputError for contenders that cannot be shared by several machines."""
    if nodes.nodes == 1:
        return
    for one in contenders:
        if one.python is not None:
            raise InputError(
                f"contender {one.name} has python={one.python}, which is a path of one machine, "
                f"and --nodes {nodes.nodes} was given; run bench with that interpreter everywhere"
            )
        if one.ranks > 1 and one.ranks % nodes.nodes:
            raise InputError(
                f"contender {one.name} has {one.ranks} ranks, which {nodes.nodes} machines cannot "
                f"share evenly; give a multiple of {nodes.nodes}"
            )


def plan_starts(
    nodes: int, ranks: int, master: str, command: Sequence[str], token: str
) -> List[Start]:
    """The command of each machine, machine 0 first; `command` is the words after `bench`.

    Raises InputError for a command that does not run in ranks, or that has flags of machines.
    """
    if not command or command[0] not in COMMANDS:
        given = f"'{command[0]}'" if command else "nothing"
        raise InputError(
            f"bench launch --plan was given {given} to start in ranks; give a command that runs in "
            "ranks behind its flags, such as compare --contender ddp"
        )
    for word in command:
        flag = word.partition("=")[0]
        if flag in _FLAGS:
            raise InputError(
                f"{flag} stands behind {command[0]} and is written there by bench launch; give it "
                f"before {command[0]}"
            )
    flags = {"nodes": nodes, "ranks": ranks, "master": master, "node_rank": 0, "token": token}
    parse_nodes(flags)
    each = ranks // nodes
    common = ["bench", *command, "--ranks", str(ranks)]
    starts = []
    for node_rank in range(nodes):
        there = ["--nodes", str(nodes), "--node-rank", str(node_rank), "--master", master]
        there += ["--token", token]
        held = list(range(node_rank * each, (node_rank + 1) * each))
        starts.append(Start(node_rank, held, [*common, *(there if nodes > 1 else [])]))
    return starts


def render_starts(starts: Sequence[Start]) -> str:
    """A shell command for each machine, below a comment that describes the machine."""
    lines = []
    for start in starts:
        held = ", ".join(map(str, start.ranks))
        plural = "" if len(start.ranks) == 1 else "s"
        role = " (the master)" if start.node_rank == 0 and len(starts) > 1 else ""
        lines.append(f"# machine {start.node_rank} of {len(starts)}{role}: rank{plural} {held}")
        lines.append(" ".join(shlex.quote(word) for word in start.command))
    return "\n".join(lines)
