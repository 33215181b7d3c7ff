"""What a worker process does first, before OneFlow is imported, when it is a rank of a group."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import signal
from typing import Mapping

from ..training.identity import read_identity
from .cores import keep_to_cores
from .rendezvous import check_master_port, read_master, wait_for_master

PARENT_VARIABLE = "BENCH_RANK_CONTROLLER"  # process id of who started the rank
STACK_SIGNAL = signal.SIGUSR1  # makes a rank write its Python stack to its log
_PR_SET_PDEATHSIG = 1


def join_group(environment: Mapping[str, str]) -> None:
    """Settle on this rank's cores, end with its controller, reach rank 0.

    Does nothing in a process that is alone. Raises InputError where rank 0's port is taken or
    rank 0 is not reached.
    """
    identity = read_identity(environment)
    if identity.ranks == 1:
        return
    _end_with_controller(environment)
    # a rank whose neighbour is gone aborts: a core file would say nothing about the cause
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    faulthandler.register(STACK_SIGNAL, all_threads=False)
    keep_to_cores(environment)
    if identity.rank == 0:
        check_master_port(read_master(environment))
    else:
        wait_for_master(read_master(environment))


def _end_with_controller(environment: Mapping[str, str]) -> None:
    """A rank inside a collective call does not see the end of its input; the kernel ends it."""
    parent = environment.get(PARENT_VARIABLE)
    if parent is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it had ended before, if only as far as a zombie
        os.kill(os.getpid(), signal.SIGKILL)
