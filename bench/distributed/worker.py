"""The worker process of a rank: it joins its group and then serves an ordinary session.

The ranks find each other without OneFlow's launcher (`placement.py`).
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
import socket
import time
from typing import Any, Mapping

from ..errors import InputError
from ..training.identity import read_identity
from ..worker.protocol import main
from .placement import CORES, PARENT, Address

STACK_SIGNAL = signal.SIGUSR1  # makes a rank write its Python stack to its log
_PR_SET_PDEATHSIG = 1
CONNECT_S = 120.0  # rank 0 may take long to import OneFlow on a busy machine
PAUSE_S = 0.05  # between two attempts


def serve_rank(session: Any) -> None:
    main(session, prepare=lambda: join_group(os.environ))


def join_group(environment: Mapping[str, str]) -> None:
    """Prepare this rank before it imports OneFlow, and return when rank 0 can be reached.

    The rank keeps to its cores, and the kernel ends it with its controller. Does nothing in a
    process that is alone. Raises InputError if rank 0's port is taken or rank 0 is not reached.
    """
    identity = read_identity(environment)
    if identity.ranks == 1:
        return
    if PARENT in environment:  # inside a collective call this rank does not see its input end
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(environment[PARENT]):  # it ended before the call
            os.kill(os.getpid(), signal.SIGKILL)
    # OneFlow aborts a rank whose neighbour is gone, and a core file would not show the cause
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    faulthandler.register(STACK_SIGNAL, all_threads=False)
    if CORES in environment:  # its future threads keep to them too
        os.sched_setaffinity(0, [int(core) for core in environment[CORES].split(",")])
    master = Address(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))
    if identity.rank == 0:
        check_master_port(master)
    else:
        wait_for_master(master)


def check_master_port(address: Address) -> None:
    """Raise InputError if rank 0 cannot listen; OneFlow would abort the process."""
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

    OneFlow would try once, wait for ten seconds, and try again forever. Raises InputError if rank
    0 does not listen within `limit_s` seconds.
    """
    end = time.monotonic() + limit_s
    while not address.is_listening():
        if time.monotonic() >= end:
            raise InputError(
                f"cannot connect to rank 0 at {address} within {limit_s:g} s; check that address, "
                "the firewall, and the log of rank 0"
            )
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    from ..worker.session import Session

    serve_rank(Session())
