"""A network of their own for the ranks of one machine: OneFlow's sockets listen on all addresses.

Linux lets any user make one in a user namespace, unless it is set up not to. A process makes it,
with nothing but a loopback interface, and holds it. `nsenter` starts the ranks in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import List

VARIABLE = "BENCH_RANK_NETWORK"  # "host" keeps the ranks in the network of the machine
SHARED = (
    "While these ranks run, OneFlow listens on all addresses of this machine: it permits them no "
    f"network of their own, or {VARIABLE} is host.\n"
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


class OwnNetwork:
    """`prefix` starts a command in the network. It is empty where there is none."""

    def __init__(self) -> None:
        self.prefix: List[str] = []
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        command = [sys.executable, "-S", "-E", "-c", _HOLD]
        if os.environ.get(VARIABLE) == "host":
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
