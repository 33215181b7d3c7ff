"""What the doctor found, as data: `bench doctor --json` prints a `Diagnosis`."""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional, Union

from pydantic import BaseModel, ConfigDict
from typing_extensions import Literal

from ...errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_INCONCLUSIVE
from .readings import ActivityReading, MachineReading, RuntimeReading

SCHEMA_VERSION = 1

OK = "ok"
ATTENTION = "attention"
UNKNOWN = "unknown"
NOT_IMPORTED = "OneFlow was not imported"

Number = Union[int, float, str, None]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Part):
    """One line of the diagnosis. `remedy` is empty unless something needs attention."""

    name: str
    status: Literal["ok", "attention", "unknown"]
    evidence: str  # what was measured, with its number
    measured: Dict[str, Number] = {}  # the same numbers, units in their names
    consequence: str = ""
    step_time_factor: Optional[float] = None  # step time now over that with the remedy
    remedy: str = ""  # the variable, flag or command
    inconclusive: bool = False  # unknown because the measurements were too unsteady


class Finding(NamedTuple):
    """Why a check needs attention."""

    consequence: str
    remedy: str
    step_time_factor: Optional[float] = None


def create_check(
    name: str, evidence: str, measured: Mapping[str, Number], finding: Optional[Finding]
) -> Check:
    """A check whose evidence was there: ok, or in need of attention where there is a finding."""
    if finding is None:
        return Check(name=name, status=OK, evidence=evidence, measured=dict(measured))
    return Check(
        name=name,
        status=ATTENTION,
        evidence=evidence,
        measured=dict(measured),
        **finding._asdict(),
    )


def create_unknown(
    name: str,
    reason: str,
    measured: Optional[Mapping[str, Number]] = None,
    inconclusive: bool = False,
) -> Check:
    """A check that cannot be judged, and why."""
    return Check(
        name=name,
        status=UNKNOWN,
        evidence=reason,
        measured=dict(measured or {}),
        inconclusive=inconclusive,
    )


class Diagnosis(_Part):
    """Everything: the checks and what they were made from."""

    schema_version: int = SCHEMA_VERSION
    created: str
    python: str  # the interpreter examined
    runtime: str
    duration_s: float
    checks: List[Check]
    machine: MachineReading
    activity: ActivityReading
    oneflow: RuntimeReading

    def list_attention(self) -> List[Check]:
        return [check for check in self.checks if check.status == ATTENTION]

    @property
    def exit_status(self) -> int:
        """1 where something needs attention, 3 where that could not be found out, else 0."""
        if self.list_attention():
            return EXIT_DIFFERENT
        unsure = self.oneflow.failures or any(check.inconclusive for check in self.checks)
        return EXIT_INCONCLUSIVE if unsure else EXIT_DONE
