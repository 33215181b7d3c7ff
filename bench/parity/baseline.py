"""Stored baselines: what a model gave when it was last found right, one readable file a model.

Schema history:

    1   first version
    2   the speedup, where it was measured
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from pydantic import BaseModel, ConfigDict

from ..config import Workload
from ..errors import InputError
from ..record.run import load_document, save_text
from .result import CheckDocument, ModelCheck, SideFacts, Speedup, Verdict

BASELINE_SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, 2)  # what came later has defaults
BASELINE_FOLDER = Path("results/baselines")
REMEDY = "make one with bench baseline update"

# workload fields that are paths; where they lie is a matter of the machine, so the name is kept
_PATH_FIELDS = ("data", "load_checkpoint", "teacher_checkpoint")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Machine(_Strict):
    """What times and memory depend on."""

    processor: Optional[str] = None
    cores: Optional[int] = None

    def __str__(self) -> str:
        return f"{self.processor or 'an unknown processor'}, {self.cores or '?'} cores"


class ModeBaseline(_Strict):
    """One mode. Losses are float32 values at full precision, None where not finite."""

    losses: List[Optional[float]]  # of every step
    resumed_losses: List[Optional[float]]
    accuracy: Optional[float]  # of the validation pass after training, 0 to 1
    validation_loss: Optional[float]
    parameters_digest: str  # sha256 over parameters and buffers after the last step
    graph_ops: Optional[int]  # operators of the compiled train graph
    compile_s: Optional[float]
    peak_rss_bytes: Optional[int]


class Baseline(_Strict):
    """A stored baseline; also what a check gave, in the same terms."""

    schema_version: int = BASELINE_SCHEMA_VERSION
    model: str
    created: str  # ISO 8601, UTC
    oneflow: Optional[str]
    blas_kernel: Optional[str]
    machine: Machine
    verdict: Verdict
    workload: Workload
    eager: ModeBaseline
    graph: ModeBaseline
    speedup: Optional[Speedup] = None


def create_baseline(document: CheckDocument, check: ModelCheck) -> Optional[Baseline]:
    """What a check gave, in the terms of a baseline; None where it did not come to its end."""
    if check.error is not None or check.eager is None or check.graph is None:
        return None
    cpu = document.machine.get("cpu", {})
    return Baseline(
        model=check.model,
        created=document.created,
        oneflow=document.oneflow,
        blas_kernel=document.blas_kernel,
        machine=Machine(processor=cpu.get("model"), cores=cpu.get("cores")),
        verdict=check.verdict,
        workload=_without_folders(check.workload),
        eager=_mode_baseline(check.eager),
        graph=_mode_baseline(check.graph),
        speedup=check.speedup,
    )


def _mode_baseline(facts: SideFacts) -> ModeBaseline:
    return ModeBaseline(**{name: getattr(facts, name) for name in ModeBaseline.model_fields})


def _without_folders(workload: Workload) -> Workload:
    values: Dict[str, Any] = {name: getattr(workload, name) for name in _PATH_FIELDS}
    return workload.model_copy(
        update={name: Path(value).name for name, value in values.items() if value is not None}
    )


def baseline_path(place: Path, model: str) -> Path:
    """The file of a model: `place` itself where it is a JSON file, else in that folder."""
    return place if place.suffix == ".json" else place / f"{model.replace(':', '-')}.json"


def save_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline in one move. Raises InputError where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        pass  # writing says what is wrong
    remedy = "give --baseline a folder you may write to"
    save_text(path, baseline.model_dump_json(indent=1) + "\n", remedy)


def load_baseline(path: Path) -> Baseline:
    """Read one file. Raises RecordError: missing, damaged, or of another schema version."""
    baseline: Baseline = load_document(path, Baseline, READABLE_VERSIONS, "baseline", REMEDY)
    return baseline


def list_baselines(place: Path) -> List[str]:
    """Names of the models that have a baseline in a folder, or in one file; sorted.

    Raises RecordError where one cannot be read, and InputError where there is none.
    """
    paths = [place] if place.suffix == ".json" else sorted(place.glob("*.json"))
    if not paths:
        raise InputError(f"there is no baseline in {place}; {REMEDY}")
    return [load_baseline(path).model for path in paths]


def find_baseline(place: Path, workload: Workload) -> Baseline:
    """The baseline that a check of `workload` is compared with.

    Raises RecordError for one that cannot be read, and InputError for another model's or another
    workload's, naming what is different.
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
