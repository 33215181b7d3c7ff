"""Stored baselines: the results of a model when it was last found right, one readable file each.

Schema history:

    1   first version
    2   the speedup, if it was measured
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import List, Optional

from pydantic import BaseModel, ConfigDict

from ..config import Workload
from ..errors import InputError
from ..record.checksum import format_document
from ..record.run import load_document, save_text
from .result import CheckDocument, ModeFacts, ModelCheck, Speedup, Verdict

BASELINE_SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, 2)  # later fields have defaults
REMEDY = "make one with bench baseline update"

STRICT = ConfigDict(extra="forbid", frozen=True)
# workload fields that are paths; folders belong to a machine, so only the names are kept
_PATH_FIELDS = ("data", "load_checkpoint", "teacher_checkpoint")


class Machine(BaseModel):
    """Times and memory depend on it."""

    model_config = STRICT

    processor: Optional[str] = None
    cores: Optional[int] = None

    def __str__(self) -> str:
        return f"{self.processor or 'an unknown processor'}, {self.cores or '?'} cores"


class Baseline(BaseModel):
    """A stored baseline, or the results of a check in the same terms."""

    model_config = STRICT

    schema_version: int = BASELINE_SCHEMA_VERSION
    model: str
    created: str  # ISO 8601, UTC
    oneflow: Optional[str]
    blas_kernel: Optional[str]
    machine: Machine
    verdict: Verdict
    workload: Workload
    eager: ModeFacts
    graph: ModeFacts
    speedup: Optional[Speedup] = None


def create_baseline(document: CheckDocument, check: ModelCheck) -> Optional[Baseline]:
    """The results of a check as a baseline; None if it did not finish.

    Raises InputError for one from a late start, whose losses are not those of the first steps.
    """
    if check.error is not None or check.eager is None or check.graph is None:
        return None
    if check.start_step:
        raise InputError(
            f"the check of {check.model} begins at step {check.start_step + 1} and a baseline "
            "holds a whole run; run bench check with the same flags"
        )
    cpu = document.machine.get("cpu", {})
    sides = {
        mode: ModeFacts(**getattr(check, mode).model_dump(exclude={"environment"}))
        for mode in ("eager", "graph")
    }
    return Baseline(
        model=check.model,
        created=document.created,
        oneflow=document.oneflow,
        blas_kernel=document.blas_kernel,
        machine=Machine(processor=cpu.get("model"), cores=cpu.get("cores")),
        verdict=check.verdict,
        workload=_without_folders(check.workload),
        speedup=check.speedup,
        **sides,
    )


def _without_folders(workload: Workload) -> Workload:
    values = workload.model_dump(include=set(_PATH_FIELDS), exclude_none=True)
    return workload.model_copy(update={n: Path(value).name for n, value in values.items()})


def baseline_path(place: Path, model: str) -> Path:
    """The file of a model: `place` itself if it is a JSON file, else a file in that folder."""
    return place if place.suffix == ".json" else place / f"{model.replace(':', '-')}.json"


def save_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline in one move. Raises InputError if that cannot be done."""
    with suppress(OSError):  # the write below reports it
        path.parent.mkdir(parents=True, exist_ok=True)
    remedy = "give --baseline a folder you may write to"
    save_text(path, format_document(baseline), remedy)


def load_baseline(path: Path) -> Baseline:
    """Read one file. Raises RecordError: missing, damaged, or of another schema version."""
    baseline: Baseline = load_document(path, Baseline, READABLE_VERSIONS, "baseline", REMEDY)
    return baseline


def list_baselines(place: Path) -> List[str]:
    """Names of the models that have a baseline in a folder, or in one file; sorted.

    Raises RecordError if one cannot be read, and InputError if there is none.
    """
    paths = [place] if place.suffix == ".json" else sorted(place.glob("*.json"))
    if not paths:
        raise InputError(f"there is no baseline in {place}; {REMEDY}")
    return [load_baseline(path).model for path in paths]


def find_baseline(place: Path, workload: Workload) -> Baseline:
    """The baseline that a check of `workload` is compared with.

    Raises RecordError for one that cannot be read, and InputError for that of another model or
    another workload, which names the difference.
    """
    path = baseline_path(place, workload.model)
    baseline = load_baseline(path)
    if baseline.model != workload.model:
        raise InputError(
            f"{path} is the baseline of {baseline.model} and {workload.model} is checked; "
            "give --baseline the folder, or that model's file"
        )
    stored, given = baseline.workload.model_dump(), _without_folders(workload).model_dump()
    other = [name for name in given if given[name] != stored[name]]
    if other:
        parts = [f"{name} {stored[name]} and not {given[name]}" for name in other]
        raise InputError(
            f"{path} is of another workload: it has {', '.join(parts)}; give the same flags, or "
            "rewrite it with bench baseline update"
        )
    return baseline
