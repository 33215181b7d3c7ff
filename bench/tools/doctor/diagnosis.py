"""The measurements, the checks made of them, and the report; `--json` prints a `Diagnosis`.

A value that could not be read or measured is None. Units are seconds, bytes and hertz.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from pydantic import BaseModel
from typing_extensions import Literal

from ...errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_INCONCLUSIVE
from ...report.blocks import Block, Heading, Table, Text

SCHEMA_VERSION = 1
STATUSES = {False: "ok", True: "attention", None: "unknown"}
NOT_IMPORTED = "OneFlow was not imported"
OUT_OF_TIME = "the time was up"
EXAMINED = "examined"  # the environment; its variants are in `runtime_checks`

Number = Union[int, float, str, None]


class _Part(BaseModel, extra="forbid", frozen=True):
    pass


class CgroupLimits(_Part):
    """The tightest limits of this process's control groups; None means no limit."""

    cores: Optional[float] = None
    memory_bytes: Optional[int] = None
    memory_used_bytes: Optional[int] = None  # of the group with that limit


class Frequency(_Part):
    governors: List[str] = []
    drivers: List[str] = []
    busy_hz: Optional[float] = None  # the fastest core's, just after a measurement
    highest_hz: Optional[float] = None
    temperature_c: Optional[float] = None


class Activity(_Part):
    """Other activity of the machine. In a window the doctor itself does nothing."""

    duration_s: float
    steal_s: Optional[float] = None
    swapped_pages: Optional[int] = None
    throttled_s: Optional[float] = None
    others_cores: List[float] = []  # used by other processes, a value a window
    load: float = 0.0


class Machine(_Part):
    cpu_model: Optional[str] = None
    cpu_flags: List[str] = []
    online_cores: int
    usable_cores: int
    physical_cores: Optional[int] = None  # of the usable ones
    cgroup: CgroupLimits = CgroupLimits()
    frequency: Frequency = Frequency()
    available_bytes: Optional[int] = None  # memory for new processes, without swapping
    huge_pages: Optional[str] = None  # always, madvise or never
    swap_used_bytes: Optional[int] = None
    swap_total_bytes: Optional[int] = None
    nvidia_driver: Optional[str] = None  # present even if OneFlow cannot use it


class Identity(_Part):
    executable: str
    python: str
    libc: str
    installed: Dict[str, str]


class ImportOutcome(_Part):
    """How the import of OneFlow ended; `error` is None when it worked."""

    error: Optional[str] = None
    log_tail: str = ""
    import_s: Optional[float] = None
    oneflow: Optional[str] = None
    oneflow_cuda: Optional[int] = None  # such as 11070
    cudnn: Optional[List[int]] = None  # its version and that of its CUDA, such as 8600, 11080
    cublas: Optional[List[int]] = None  # major, minor, patch
    gpus: int = 0


class ThreadTimes(_Part):
    """Processor seconds of each thread while an operator was repeated for `wall_s`."""

    wall_s: float
    threads_s: Dict[str, float]


class ThreadMeasurements(_Part):
    product: ThreadTimes
    reduction: ThreadTimes


class MemoryMeasurements(_Part):
    page_fault_s: float
    peak_rss_bytes: Optional[int] = None
    swapped_bytes: Optional[int] = None
    huge_page_bytes: Optional[int] = None


class StepBlock(_Part):
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


class Round(_Part):
    """A block of the examined environment and one of each variant, one after the other."""

    examined: StepBlock
    variants: Dict[str, StepBlock]


class Failure(_Part):
    """A measurement that was not made. `crashed`: it ended the process, or raised there."""

    measurement: str
    reason: str
    crashed: bool = False


class ProfiledStep(_Part):
    """The step of the user's model, from a `bench profile`, and the products in it."""

    model: str
    mode: str
    batch: str
    step_s: float
    shapes: List[List[int]]  # of each product, as `time_products` takes them
    counts: List[int]


class RuntimeMeasurements(_Part):
    """OneFlow in the environment examined."""

    runtime: str
    variables: Dict[str, str]  # those that steer the runtime
    changes: Dict[str, Dict[str, str]] = {}  # the variables that each variant changes
    identity: Optional[Identity] = None
    imported: Optional[ImportOutcome] = None
    kernel: Optional[str] = None  # of OneFlow's BLAS
    stock_kernel: Optional[str] = None
    numpy_flops_per_s: Optional[float] = None  # one core; NumPy chooses the kernel
    matmul_flops_per_s: Optional[float] = None
    threads: Optional[ThreadMeasurements] = None
    operators_s: Dict[str, Dict[str, float]] = {}  # by EXAMINED and the variant of oneDNN
    memory: Optional[MemoryMeasurements] = None
    rounds: List[Round] = []
    profiled: Optional[ProfiledStep] = None
    products_s: Dict[str, float] = {}  # of the profiled step, by EXAMINED and the other BLAS
    failures: List[Failure] = []

    @property
    def is_imported(self) -> bool:
        return self.imported is not None and self.imported.error is None


class Measured(NamedTuple):
    machine: Machine
    activity: Activity
    oneflow: RuntimeMeasurements

    def lack(self, reason: str) -> Answer:
        return unknown(reason if self.oneflow.is_imported else NOT_IMPORTED)


class Answer(NamedTuple):
    """The answer of a check. Consequence, remedy and factor count only with `attention`."""

    evidence: str
    measured: Mapping[str, Number] = {}  # the numbers of the evidence, units in their names
    attention: Optional[bool] = False  # None: it cannot be judged
    consequence: str = ""
    remedy: str = ""
    step_time_factor: Optional[float] = None
    inconclusive: bool = False


def unknown(
    reason: str, measured: Optional[Mapping[str, Number]] = None, inconclusive: bool = False
) -> Answer:
    return Answer(reason, measured or {}, attention=None, inconclusive=inconclusive)


def search(pattern: str, text: str) -> Optional[str]:
    """The first group of a pattern; None without a match."""
    found = re.search(pattern, text)
    return found.group(1) if found else None


# A check is a function. Its name is the check's, and its docstring the question.
Question = Callable[[Measured], Answer]


class Check(_Part):
    """One line of the diagnosis. `remedy` is empty unless something needs attention."""

    name: str
    status: Literal["ok", "attention", "unknown"]
    evidence: str
    measured: Dict[str, Number] = {}
    consequence: str = ""
    step_time_factor: Optional[float] = None  # step time now over that with the remedy
    remedy: str = ""  # a variable, flag or command
    inconclusive: bool = False  # unknown because the measurements were too unsteady


def judge(questions: Sequence[Question], measured: Measured) -> List[Check]:
    checks = []
    for question in questions:
        fields = question(measured)._asdict()
        attention = fields.pop("attention")
        if not attention:
            fields.update(consequence="", remedy="", step_time_factor=None)
        checks.append(Check(name=question.__name__, status=STATUSES[attention], **fields))
    return checks


class Diagnosis(_Part):
    schema_version: int = SCHEMA_VERSION
    created: str
    python: str  # the interpreter examined
    runtime: str
    duration_s: float
    checks: List[Check]
    machine: Machine
    activity: Activity
    oneflow: RuntimeMeasurements

    def list_checks(self, status: str) -> List[Check]:
        return [check for check in self.checks if check.status == status]

    @property
    def exit_status(self) -> int:
        """1 if something needs attention, 3 if that could not be found out, else 0."""
        if self.list_checks("attention"):
            return EXIT_DIFFERENT
        unsure = self.oneflow.failures or any(check.inconclusive for check in self.checks)
        return EXIT_INCONCLUSIVE if unsure else EXIT_DONE


def report_diagnosis(diagnosis: Diagnosis) -> List[Block]:
    """The table of checks, then the cost and the remedy of each finding."""
    lines = []
    for check in diagnosis.list_checks("attention"):
        lines += [f"{check.name}: {check.consequence}", f"  remedy: {check.remedy}"]
    unknown = ", ".join(check.name for check in diagnosis.list_checks("unknown"))
    if not lines:
        lines = ["Nothing needs attention."] + ([f"Not known: {unknown}."] if unknown else [])
    rows = [[check.name, check.status, check.evidence] for check in diagnosis.checks]
    return [
        Heading(f"{diagnosis.python}, runtime {diagnosis.runtime}"),
        Table(["check", "status", "evidence"], rows),
        Text(lines),
        Text([f"{len(diagnosis.checks)} checks in {diagnosis.duration_s:.0f} s"]),
    ]
