"""How the ranks of a group find each other: OneFlow's own variables, without its launcher.

`import oneflow` reads MASTER_ADDR, MASTER_PORT, WORLD_SIZE, RANK and LOCAL_RANK. With them, rank 0
listens on MASTER_PORT while it is imported, the others connect to it, and none of them comes back
before all are there; then the port is closed again and the ranks talk over ports of their own.
"""

from __future__ import annotations

import socket
import time
from typing import Dict, Mapping, NamedTuple

from ..errors import InputError
from ..training.identity import Identity

LOOPBACK = "127.0.0.1"
CONNECT_S = 120.0  # for rank 0 to import OneFlow on a busy machine
ATTEMPT_S = 1.0  # longest that one try to connect may take
PAUSE_S = 0.05  # between two tries


class Address(NamedTuple):
    """Where rank 0 listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class PortReservation:
    """A free port of this machine, kept from other programs until it is released.

    The socket is bound and does not listen. Rank 0 can still listen on its port, because OneFlow
    and this socket both allow the address to be used again (SO_REUSEADDR).
    """

    def __init__(self, host: str = LOOPBACK) -> None:
        self._socket = socket.socket()
        self._socket.bind((host, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.address = Address(host, self._socket.getsockname()[1])

    def release(self) -> None:
        self._socket.close()


def create_rank_variables(identity: Identity, master: Address, local_rank: int) -> Dict[str, str]:
    """What OneFlow reads in a rank's environment; `local_rank` counts on the rank's machine."""
    return {
        "MASTER_ADDR": master.host,
        "MASTER_PORT": str(master.port),
        "WORLD_SIZE": str(identity.ranks),
        "RANK": str(identity.rank),
        "LOCAL_RANK": str(local_rank),
    }


def read_master(environment: Mapping[str, str]) -> Address:
    """Where this process's rank 0 listens."""
    return Address(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))


def is_listening(address: Address) -> bool:
    """True where a connection to `address` is accepted now."""
    try:
        socket.create_connection(address, ATTEMPT_S).close()
    except OSError:
        return False
    return True


def check_master_port(address: Address) -> None:
    """Raise InputError where rank 0 could not listen; OneFlow would abort the process."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", address.port))
            probe.listen(1)
        except OSError as error:
            raise InputError(
                f"port {address.port} of this machine cannot be used ({error.strerror}), and "
                "rank 0 must listen there for the others; end the program that has it or give "
                "another port"
            ) from None


def wait_for_master(address: Address, limit_s: float = CONNECT_S) -> None:
    """Return when rank 0 listens.

    OneFlow would try once, wait for ten seconds, and try again forever. Raises InputError where
    rank 0 does not listen within `limit_s` seconds.
    """
    end = time.monotonic() + limit_s
    while not is_listening(address):
        if time.monotonic() >= end:
            raise InputError(
                f"cannot connect to rank 0 at {address} within {limit_s:g} s; check that address, "
                "the firewall, and the log of rank 0"
            )
        time.sleep(PAUSE_S)
