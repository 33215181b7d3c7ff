"""What a search for a runtime found, as data. Reports and pictures read this and nothing else.

A search's folder holds

    tune.json      this document, replaced atomically
    heats.jsonl    the raw step times of every heat, a line each as it ends
    runtime.json   the profile for --runtime
    confirm-*/     records of the speed verdicts that the best were confirmed with

Schema history:

    1   first version
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import Literal

from ...config import Workload
from ...record.run import load_document, save_text
from ...verdict.judge import Interval, Judgement
from .candidates import Setting
from .fidelity import Fidelity

SCHEMA_VERSION = 1
DOCUMENT_NAME, HEATS_NAME, PROFILE_NAME = "tune.json", "heats.jsonl", "runtime.json"

# verdicts of a candidate besides those of the race (faster, slower, equivalent, inconclusive)
PARITY_FAILED, NO_EFFECT, NOT_TRIED = "parity failed", "no effect", "not tried"

Phase = Literal["alone", "together", "left out"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class CandidateResult(_Strict):
    """What became of one candidate.

    `alone`: one setting against stock. `together`: several against stock. `left out`: the
    combination without `left_out`, against the whole combination.
    """

    phase: Phase
    name: str
    settings: List[Setting]
    left_out: Optional[str] = None
    speedup: Optional[Interval]  # base time over its time; None where it was not timed
    over_stock: Optional[Interval] = None  # of what is left where one is left out
    verdict: str
    reason: str  # a sentence part: why it was dropped, or what is not known
    heats: int  # fresh processes it was timed in
    fidelity: Optional[Fidelity] = None  # None where it did not come so far


class Confirmation(_Strict):
    """One of the best, against stock in fresh processes, by the speed verdict."""

    name: str
    settings: List[Setting]
    verdict: str  # the judgement's, or not tried, crashed, hung
    reason: str
    judgement: Optional[Judgement]  # None where nothing was finished
    warnings: List[str] = Field(default_factory=list)  # of what disturbed the measuring
    folder: Optional[str]  # of its record, within the search's folder; None where none was made
    fidelity: Optional[Fidelity] = None


class ModeResult(_Strict):
    """The search of one mode. Seconds."""

    mode: str
    stock_step_time_s: float  # of the first process; for scale, not for a verdict
    trained_steps: int  # whose losses and weights were compared
    candidates: List[CandidateResult] = Field(default_factory=list)
    confirmations: List[Confirmation] = Field(default_factory=list)
    chosen: Optional[str] = None  # name of the confirmed combination; None: stock stays
    settings: List[Setting] = Field(default_factory=list)  # of the chosen
    reason: str = ""  # why it was chosen, or why none
    dropped: Dict[str, str] = Field(default_factory=dict)  # setting -> why it left the combination
    heats: int = 0
    duration_s: float = 0.0

    def of_phase(self, phase: Phase) -> List[CandidateResult]:
        return [candidate for candidate in self.candidates if candidate.phase == phase]


class TuneDocument(_Strict):
    """`tune.json`."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    status: Literal["running", "complete", "interrupted", "failed"] = "running"
    created: str  # ISO 8601, UTC
    workload: Workload
    budget_s: float
    machine: Dict[str, Any] = Field(default_factory=dict)
    oneflow: Optional[str] = None
    environment: Dict[str, str] = Field(default_factory=dict)  # variables that stock had already
    modes: List[ModeResult] = Field(default_factory=list)
    profile: Optional[str] = None  # where it was written
    warnings: List[str] = Field(default_factory=list)


def save_tuning(folder: Path, document: TuneDocument) -> None:
    """Write `tune.json`. Raises InputError where the folder cannot be written to."""
    text = document.model_dump_json(indent=1) + "\n"
    save_text(folder / DOCUMENT_NAME, text, "give --out a folder you may write to")


def load_tuning(path: Path) -> TuneDocument:
    """Read a search's folder, or the `tune.json` in it. Raises RecordError where there is none."""
    path = path / DOCUMENT_NAME if path.is_dir() else path
    document: TuneDocument = load_document(
        path, TuneDocument, (SCHEMA_VERSION,), "search", "give a folder made by bench tune"
    )
    return document


def find_confirmation(mode: ModeResult) -> Optional[Confirmation]:
    """Of what was chosen."""
    return next((c for c in mode.confirmations if c.name == mode.chosen), None)


def list_names(settings: Sequence[Setting]) -> List[str]:
    return [setting.name for setting in settings]
