"""The variants of an environment: which are worth a turn, and their gain; pure.

A setting is judged by the time it costs: a variant without it takes turns with the environment
examined. The variant must win every round, by more than `MATERIAL_FACTOR` and by more than twice
the deviation of a control, which is the same environment again.
"""

from __future__ import annotations

from statistics import median
from typing import Dict, List, NamedTuple, Optional, Sequence

from ...worker.environment import needs_core_type
from .diagnosis import (
    BLAS,
    CONTROL,
    HUGE_PAGES,
    ONEDNN,
    SCHEDULER,
    THREADS,
    Identity,
    Machine,
    Round,
)
from .import_checks import parse_version

CORE_TYPE = "OPENBLAS_CORETYPE"
ONEDNN_VARIABLE = "ONEFLOW_ENABLE_ONEDNN_OPTS"
THREADS_VARIABLE = "OMP_NUM_THREADS"
SCHEDULER_VARIABLE = "ONEFLOW_VM_COMPUTE_ON_WORKER_THREAD"

# of step times: five times the spread of equal processes, 1.8 % in results/example, and the
# smallest gain that pays for changing an environment
MATERIAL_FACTOR = 1.10
CONTROL_MULTIPLE = 2.0
LEAST_ROUNDS = 5  # winning all of five by chance alone: 1 in 32, without the factor

HUGE_PAGES_LIBC = (2, 35)  # glibc's release notes: malloc.hugetlb came with it
WORKER_BYTES = 500 << 20  # peak of a worker's resident memory, as `bench doctor --json` shows it

Changes = Dict[str, Dict[str, str]]  # the variables that each variant changes


def plan_variants(
    environment: Dict[str, str],
    kernel: Optional[str],
    machine: Machine,
    identity: Optional[Identity],
) -> Changes:
    """The control and the remedies worth a turn, with the variables that each changes.

    If memory is short, variants are dropped from the end of this order.
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


def count_affordable(machine: Machine) -> Optional[int]:
    """Workers that fit into the memory at once; None if that is not known."""
    left = [machine.available_bytes]
    if machine.cgroup.memory_bytes is not None:
        left.append(machine.cgroup.memory_bytes - (machine.cgroup.memory_used_bytes or 0))
    known = [size for size in left if size is not None]
    return min(known) // WORKER_BYTES if known else None


def is_set(variables: Dict[str, str], name: str, default: bool) -> bool:
    """A switch of OneFlow as OneFlow reads it."""
    value = variables.get(name)
    return default if value is None else value.lower() in ("1", "true", "on", "yes", "y")


class Gain(NamedTuple):
    """Step time of the environment examined over that of a variant: above 1, the variant wins."""

    factor: float  # median over rounds
    lowest: float
    highest: float
    rounds: int
    material: bool  # large enough, sure enough, and beyond the deviation of the control

    @property
    def unsure(self) -> bool:
        """Large enough to matter, and not sure enough for a finding."""
        return self.factor > MATERIAL_FACTOR and not self.material

    def describe(self) -> str:
        interval = f"({self.lowest:.2f} to {self.highest:.2f})"
        return f"a train step takes {self.factor:.2f} {interval} times as long as otherwise"


def summarize_gain(rounds: Sequence[Round], variant: str) -> Optional[Gain]:
    """The gain of a variant; None if it had fewer turns than `LEAST_ROUNDS`."""
    ratios = list_ratios(rounds, variant)
    if len(ratios) < LEAST_ROUNDS:
        return None
    control = list_ratios(rounds, CONTROL)
    deviation = abs(median(control) - 1) if control else 0.0
    factor = median(ratios)
    least = max(MATERIAL_FACTOR, 1 + CONTROL_MULTIPLE * deviation)
    return Gain(
        factor=factor,
        lowest=min(ratios),
        highest=max(ratios),
        rounds=len(ratios),
        material=bool(control) and min(ratios) > 1 and factor > least,
    )


def list_ratios(rounds: Sequence[Round], variant: str) -> List[float]:
    """Step time examined over step time of the variant, a value a round."""
    return [
        round_.examined.step_s / round_.variants[variant].step_s
        for round_ in rounds
        if variant in round_.variants
    ]
