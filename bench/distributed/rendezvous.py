"""How the ranks of a group find each other, without OneFlow's launcher.

While OneFlow is imported in rank 0, it listens on MASTER_PORT. The import in the other ranks
connects to that port. No import returns before all ranks are connected. Then the port is closed
again, and the ranks talk over ports of their own.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import List, Mapping

from ..errors import InputError
from ..training.identity import read_identity
from .placement import LOOPBACK, Address, keep_to_cores, read_master

PARENT_VARIABLE = "BENCH_RANK_CONTROLLER"  # the process id of the controller of a rank
STACK_SIGNAL = signal.SIGUSR1  # makes a rank write its Python stack to its log
_PR_SET_PDEATHSIG = 1
CONNECT_S = 120.0  # rank 0 may take long to import OneFlow on a busy machine
ATTEMPT_S = 1.0  # limit of one attempt to connect
PAUSE_S = 0.05  # between two attempts
NETWORK_VARIABLE = "BENCH_RANK_NETWORK"  # "host" keeps the ranks in the network of the machine
SHARED = (
    "While these ranks run, OneFlow listens on all addresses of this machine: it permits them no "
    f"network of their own, or {NETWORK_VARIABLE} is host.\n"
)
# CLONE_NEWUSER | CLONE_NEWNET; the same user as before; SIOCSIFFLAGS with IFF_UP
_HOLD = """
import ctypes, fcntl, os, socket, struct, sys
uid, gid = os.geteuid(), os.getegid()
if ctypes.CDLL(None).unshare(0x50000000):
    sys.exit(1)
maps = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
for name, text in maps.items():
    with open(f"/proc/self/{name}", "w") as file:
        file.write(text)
with socket.socket() as control:
    fcntl.ioctl(control, 0x8914, struct.pack("16sh22x", b"lo", 1))
print(flush=True)
sys.stdin.read()
"""


class PortReservation:
    """A free port of this machine that no other program is given until it is released.

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


class OwnNetwork:
    """A network for the ranks of one machine, with nothing but a loopback interface.

    OneFlow's sockets listen on all addresses. Linux lets any user make a network in a user
    namespace, unless it is set up not to. A process makes and holds it. `prefix` starts a command
    in it, and is empty where it cannot be made.
    """

    def __init__(self) -> None:
        self.prefix: List[str] = []
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        command = [sys.executable, "-S", "-E", "-c", _HOLD]
        if os.environ.get(NETWORK_VARIABLE) == "host":
            command = ["true"]
        self._holder = subprocess.Popen(  # ends with its input, so with this process
            command, stdin=pipe, stdout=pipe, stderr=nothing, start_new_session=True
        )
        assert self._holder.stdout is not None
        target = f"--target={self._holder.pid}"
        prefix = ["nsenter", "--preserve-credentials", target, "--user", "--net", "--"]
        if self._holder.stdout.readline() and shutil.which("nsenter"):
            enters = subprocess.run([*prefix, "true"], stdout=nothing, stderr=nothing)
            self.prefix = [] if enters.returncode else prefix

    def release(self) -> None:
        """Let the network end with its last rank."""
        for pipe in (self._holder.stdin, self._holder.stdout):
            assert pipe is not None
            pipe.close()
        self._holder.wait()


def is_listening(address: Address) -> bool:
    try:
        socket.create_connection(address, ATTEMPT_S).close()
    except OSError:
        return False
    return True


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
    while not is_listening(address):
        if time.monotonic() >= end:
            raise InputError(
                f"cannot connect to rank 0 at {address} within {limit_s:g} s; check that address, "
                "the firewall, and the log of rank 0"
            )
        time.sleep(PAUSE_S)


def join_group(environment: Mapping[str, str]) -> None:
    """Prepare this rank before it imports OneFlow, and return when rank 0 can be reached.

    The rank keeps to its cores, and the kernel ends it with its controller. Does nothing in a
    process that is alone. Raises InputError if rank 0's port is taken or rank 0 is not reached.
    """
    identity = read_identity(environment)
    if identity.ranks == 1:
        return
    _end_with_controller(environment)
    # OneFlow aborts a rank whose neighbour is gone, and a core file would not show the cause
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    faulthandler.register(STACK_SIGNAL, all_threads=False)
    keep_to_cores(environment)
    if identity.rank == 0:
        check_master_port(read_master(environment))
    else:
        wait_for_master(read_master(environment))


def _end_with_controller(environment: Mapping[str, str]) -> None:
    """Let the kernel end this rank: inside a collective call it does not see its input end."""
    parent = environment.get(PARENT_VARIABLE)
    if parent is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it ended before the call
        os.kill(os.getpid(), signal.SIGKILL)
