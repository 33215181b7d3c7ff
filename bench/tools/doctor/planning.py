"""Which variants of an environment are worth a turn, and how many fit into the memory; pure."""

from __future__ import annotations

from typing import Dict, Optional

from ...worker.environment import needs_core_type
from .import_failure import parse_version
from .readings import (
    BLAS,
    CONTROL,
    HUGE_PAGES,
    ONEDNN,
    SCHEDULER,
    THREADS,
    IdentityReading,
    MachineReading,
)
from .runtime_checks import CORE_TYPE, ONEDNN_VARIABLE, SCHEDULER_VARIABLE, THREADS_VARIABLE, is_set

HUGE_PAGES_LIBC = (2, 35)  # glibc's release notes: malloc.hugetlb came with it
WORKER_BYTES = 500 << 20  # peak of a worker's resident memory, as `bench doctor --json` shows it

Changes = Dict[str, Dict[str, str]]  # what each variant sets otherwise


def plan_variants(
    environment: Dict[str, str],
    kernel: Optional[str],
    machine: MachineReading,
    identity: Optional[IdentityReading],
) -> Changes:
    """The variants worth a turn, and what each sets otherwise: the control, and the remedies.

    In the order in which they are given up where memory is short, the last first.
    """
    changes: Changes = {CONTROL: {}}
    if needs_core_type(kernel, machine.cpu_flags):
        changes[BLAS] = {CORE_TYPE: "Haswell"}
    threads = environment.get(THREADS_VARIABLE, "")
    if threads.isdigit() and int(threads) < machine.usable_cores:
        changes[THREADS] = {THREADS_VARIABLE: str(machine.usable_cores)}
    on = is_set(environment, ONEDNN_VARIABLE, True)
    changes[ONEDNN] = {ONEDNN_VARIABLE: "0" if on else "1"}
    if is_set(environment, SCHEDULER_VARIABLE, True):
        changes[SCHEDULER] = {SCHEDULER_VARIABLE: "0"}
    libc = identity.libc if identity else ""
    if (
        machine.huge_pages == "madvise"
        and libc.startswith("glibc")
        and parse_version(libc) >= HUGE_PAGES_LIBC
        and "GLIBC_TUNABLES" not in environment
    ):
        changes[HUGE_PAGES] = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    return changes


def count_affordable(machine: MachineReading) -> Optional[int]:
    """Workers that the memory has room for at once; None where that is not known."""
    left = [machine.available_bytes]
    if machine.cgroup.memory_bytes is not None:
        left.append(machine.cgroup.memory_bytes - (machine.cgroup.memory_used_bytes or 0))
    known = [size for size in left if size is not None]
    return min(known) // WORKER_BYTES if known else None
