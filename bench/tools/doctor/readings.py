"""What the doctor read and measured, as data: all that the checks are told.

None stands for what could not be read or measured; seconds, bytes and hertz throughout.
"""

from __future__ import annotations

from typing import Dict, List, Optional

from pydantic import BaseModel, ConfigDict

# the variants of the examined environment that take turns with it
CONTROL = "control"  # the same environment again
ONEDNN = "onednn"  # oneDNN the other way round
SCHEDULER = "scheduler"  # the scheduler thread computes by itself
BLAS = "blas"  # the BLAS kernel that the processor deserves
THREADS = "threads"  # as many threads as usable cores
HUGE_PAGES = "huge_pages"  # malloc asks the kernel for huge pages


class _Reading(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CgroupReading(_Reading):
    """The tightest limits of this process's control groups; None where there is no limit."""

    cores: Optional[float] = None
    memory_bytes: Optional[int] = None
    memory_used_bytes: Optional[int] = None  # of the group with that limit


class FrequencyReading(_Reading):
    governors: List[str] = []
    drivers: List[str] = []
    busy_hz: Optional[float] = None  # the fastest core's, just after a measurement
    highest_hz: Optional[float] = None
    temperature_c: Optional[float] = None


class ActivityReading(_Reading):
    """What went on while the doctor worked. A window is a moment in which it did nothing."""

    duration_s: float
    steal_s: Optional[float] = None
    swapped_pages: Optional[int] = None
    throttled_s: Optional[float] = None
    others_cores: List[float] = []  # used by other processes, a value a window
    load: float = 0.0


class MachineReading(_Reading):
    cpu_model: Optional[str] = None
    cpu_flags: List[str] = []
    online_cores: int
    usable_cores: int
    physical_cores: Optional[int] = None  # of the usable ones
    cgroup: CgroupReading = CgroupReading()
    frequency: FrequencyReading = FrequencyReading()
    available_bytes: Optional[int] = None  # memory for new processes, without swapping
    huge_pages: Optional[str] = None  # always, madvise or never
    swap_used_bytes: Optional[int] = None
    swap_total_bytes: Optional[int] = None
    nvidia_driver: Optional[str] = None  # also where OneFlow can't use it


class IdentityReading(_Reading):
    executable: str
    python: str
    libc: str
    installed: Dict[str, str]


class ImportReading(_Reading):
    """How the import of OneFlow ended; `error` is None when it worked."""

    error: Optional[str] = None
    log_tail: str = ""
    import_s: Optional[float] = None
    oneflow: Optional[str] = None
    oneflow_cuda: Optional[int] = None  # such as 11070
    cudnn: Optional[List[int]] = None  # its version and that of its CUDA, such as 8600, 11080
    cublas: Optional[List[int]] = None  # major, minor, patch
    gpus: int = 0


class ThreadTimes(_Reading):
    wall_s: float
    threads_s: Dict[str, float]


class ThreadReading(_Reading):
    product: ThreadTimes
    reduction: ThreadTimes


class MemoryReading(_Reading):
    page_fault_s: float
    peak_rss_bytes: Optional[int] = None
    swapped_bytes: Optional[int] = None
    huge_page_bytes: Optional[int] = None


class StepBlock(_Reading):
    """Train steps timed together between two full synchronisations."""

    steps: int
    wall_s: float
    cpu_s: float
    minor_faults: int
    major_faults: int
    involuntary_switches: int

    @property
    def step_s(self) -> float:
        return self.wall_s / self.steps


class Round(_Reading):
    """A block of the examined environment and one of each variant, one after the other."""

    examined: StepBlock
    variants: Dict[str, StepBlock]


class Failure(_Reading):
    """A measurement that was not made. `crashed`: it ended the process, or raised there."""

    measurement: str
    reason: str
    crashed: bool


class RuntimeReading(_Reading):
    """OneFlow in the environment examined."""

    runtime: str
    variables: Dict[str, str]  # those that steer the runtime
    changes: Dict[str, Dict[str, str]] = {}  # what each variant sets otherwise
    identity: Optional[IdentityReading] = None
    imported: Optional[ImportReading] = None
    kernel: Optional[str] = None  # of OneFlow's BLAS
    stock_kernel: Optional[str] = None
    numpy_flops_per_s: Optional[float] = None  # one core, NumPy's own choice of a kernel
    matmul_flops_per_s: Optional[float] = None
    threads: Optional[ThreadReading] = None
    operators_s: Dict[str, Dict[str, float]] = {}  # by "examined" and ONEDNN
    memory: Optional[MemoryReading] = None
    rounds: List[Round] = []
    failures: List[Failure] = []
