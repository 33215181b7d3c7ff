"""The place of a rank: its number, its machine's cores, its network, and the address of rank 0.

`import oneflow` reads MASTER_ADDR, MASTER_PORT, WORLD_SIZE, RANK and LOCAL_RANK. While OneFlow is
imported in rank 0, it listens on MASTER_PORT. The import in the other ranks connects to that port.
No import returns before all ranks are connected. Then the port is closed again, and the ranks talk
over ports of their own.

The ranks of a contender divide the cores that a contender of one process has to itself, as only one
contender has its turn at a time. They have different cores, because two ranks that share a core and
wait for each other would measure the scheduler. The record lists the cores of each rank.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from typing import Dict, List, NamedTuple, Sequence, Tuple

from ..config import Contender
from ..training.identity import Identity
from ..worker.environment import TUNED, RuntimeResolver

PARENT = "BENCH_RANK_CONTROLLER"  # the process id of the controller of a rank
CORES = "BENCH_RANK_CORES"  # of a rank, separated by commas
THREADS = "OMP_NUM_THREADS"
LOOPBACK = "127.0.0.1"
ATTEMPT_S = 1.0  # limit of one attempt to connect
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


class Address(NamedTuple):
    """The address at which rank 0, or the head of a cluster, listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def is_listening(self) -> bool:
        try:
            socket.create_connection(self, ATTEMPT_S).close()
        except OSError:
            return False
        return True


class Placement(NamedTuple):
    identity: Identity
    host: str
    local_rank: int  # among the ranks of its host
    master: Address  # of rank 0
    cores: List[int]  # that it may use, of its host


def place_ranks(
    hosts: Sequence[str], usable: Sequence[Sequence[int]], master: Address
) -> List[Placement]:
    """The placement of each rank on its host, whose `usable` cores its ranks divide.

    Local ranks count by the host that rank 0 sees. With other numbers OneFlow's ranks would wait
    for each other forever.
    """
    parts = {host: divide_cores(cores, hosts.count(host)) for host, cores in zip(hosts, usable)}
    local = [hosts[:rank].count(host) for rank, host in enumerate(hosts)]
    return [
        Placement(Identity(rank, len(hosts)), host, local[rank], master, parts[host][local[rank]])
        for rank, host in enumerate(hosts)
    ]


def divide_cores(cores: Sequence[int], ranks: int) -> List[List[int]]:
    """The cores of each rank: disjoint and contiguous; their numbers differ by one at most.

    If there are more ranks than cores, every rank may use all of them.
    """
    ordered = sorted(cores)
    if ranks > len(ordered):
        return [list(ordered) for _ in range(ranks)]
    bounds = [rank * len(ordered) // ranks for rank in range(ranks + 1)]
    return [ordered[start:end] for start, end in zip(bounds, bounds[1:])]


def create_rank_variables(identity: Identity, master: Address, local_rank: int) -> Dict[str, str]:
    """The variables that OneFlow reads; `local_rank` counts the ranks of one machine."""
    return {
        "MASTER_ADDR": master.host,
        "MASTER_PORT": str(master.port),
        "WORLD_SIZE": str(identity.ranks),
        "RANK": str(identity.rank),
        "LOCAL_RANK": str(local_rank),
    }


def create_rank_environment(
    contender: Contender, placement: Placement, environments: RuntimeResolver
) -> Dict[str, str]:
    """The environment of a rank that this process starts: its contender's and its place.

    It has as many threads as cores where nobody has set their number.
    """
    variables = {
        **environments.resolve(contender, contender.interpreter),
        **create_rank_variables(placement.identity, placement.master, placement.local_rank),
        PARENT: str(os.getpid()),
        CORES: ",".join(map(str, placement.cores)),
    }
    if contender.runtime == TUNED and THREADS not in {**environments.base, **contender.env}:
        variables[THREADS] = str(len(placement.cores))
    return variables


def reserve_port(host: str = LOOPBACK) -> Tuple[Address, socket.socket]:
    """A free port of this machine that no other program is given until the socket is closed.

    The socket is bound and does not listen. Rank 0 can still listen on its port, because OneFlow
    and this socket both allow the address to be used again (SO_REUSEADDR).
    """
    reserved = socket.socket()
    reserved.bind((host, 0))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return Address(*reserved.getsockname()), reserved


class OwnNetwork:
    """A network for the ranks of one machine, with nothing but a loopback interface, and its port.

    OneFlow's sockets listen on all addresses. Linux lets any user make a network in a user
    namespace, unless it is set up not to. A process makes and holds it. `prefix` starts a command
    in it, and is empty where it cannot be made. `address` is that of rank 0.
    """

    def __init__(self) -> None:
        self.prefix: List[str] = []
        self.address, self._reserved = reserve_port()
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
        """Give the port back, and let the network end with its last rank."""
        self._reserved.close()
        if self._holder.returncode is None:
            self._holder.communicate()
