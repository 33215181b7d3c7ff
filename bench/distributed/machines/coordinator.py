"""Machine 0 of several: waits for the others before the run, and tells them how it ended."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, Optional

from .... import __version__
from ...errors import InputError
from ...record.run import Document
from .handshake import describe_run
from .link import Message
from .node_server import NodeServer
from .nodes import Nodes

WAIT_S = 60.0  # for the other machines


@contextmanager
def coordinate_run(
    nodes: Nodes,
    document: Document,
    folder: Path,
    show: Callable[[str], None],
    limit_s: float = WAIT_S,
) -> Iterator[Optional[NodeServer]]:
    """The other machines of a run while it lasts, all of them there; None with one machine.

    They stand in the document's environment. Raises InputError where one does not come.
    """
    if nodes.host is None or nodes.port is None:
        yield None
        return
    run = describe_run(document)
    host = resolve_host(nodes.host)
    server = NodeServer(host, nodes.port, nodes.nodes, nodes.token, __version__, run)
    last_word: Message = {"do": "end", "error": "it was ended"}
    try:
        others = nodes.nodes - 1
        show(
            f"waiting up to {limit_s:g} s for {others} other machine{'' if others == 1 else 's'} "
            f"at {host}:{nodes.port}"
        )
        came = server.wait_for_nodes(limit_s, show)
        document.environment_start["nodes"] = [
            {"node_rank": one.node_rank, "address": one.address, **one.machine} for one in came
        ]
        yield server
        last_word = {"do": "end", "record": str(folder)}
    except BaseException as error:
        last_word = {"do": "end", "error": str(error) or "it was ended by the user"}
        raise
    finally:
        server.close(last_word)


def resolve_host(host: str) -> str:
    """The IPv4 address of machine 0, which OneFlow takes and no name.

    Raises InputError for a name that is not known, or that means this machine only to itself.
    """
    try:
        address = socket.gethostbyname(host)
    except OSError as error:
        raise InputError(
            f"--master {host} is not known to this machine ({error.strerror}); give its address"
        ) from None
    if ipaddress.ip_address(address).is_loopback and host not in (address, "localhost"):
        raise InputError(
            f"--master {host} is {address} to this machine, where others cannot reach it; give the "
            "address by which they do"
        )
    return address
