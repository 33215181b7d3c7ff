"""`sweep.json`: a sweep's cells and what became of each. Everything reported is computed from it.

A sweep folder holds

    sweep.json           this document, replaced atomically after every cell
    cells/<name>/        the record of a cell, as `bench compare` writes it

Schema history:

    1   first version
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Union

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import Literal

from ...config import Measuring, Workload
from ...record.run import load_document, save_text
from ...verdict.statistics import Ratio, Summary

SWEEP_SCHEMA_VERSION = 1
SWEEP_NAME = "sweep.json"
CELLS_FOLDER = "cells"
MODES = ("eager", "graph")  # baseline and contender of every cell

Value = Union[bool, int, float, str]
CellStatus = Literal["done", "refused", "failed", "timeout", "out of memory"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class ModeResult(_Strict):
    """One mode of a cell. Seconds and bytes; None where the record does not hold it."""

    step_time_s: Optional[Summary] = None  # of a training step, over steady blocks
    compile_s: Optional[float] = None  # train and eval graph; 0 in eager mode
    first_step_s: Optional[float] = None  # after compiling
    peak_rss_bytes: Optional[int] = None


class CellResult(_Strict):
    """What became of a cell. Measured values are there when it is `done`."""

    status: CellStatus
    reason: str  # a sentence
    record: Optional[str] = None  # the cell's own record, relative to the sweep's folder
    started: str  # ISO 8601, UTC
    duration_s: float
    cell_timeout_s: float  # the limit that it ran under
    modes: Dict[str, ModeResult] = Field(default_factory=dict)
    speedup: Optional[Ratio] = None  # eager time / graph time, of one pair of processes
    parity: Optional[str] = None
    parity_reason: Optional[str] = None


class Cell(_Strict):
    """One comparison of eager and graph: where it stands on the axes, and its configuration."""

    values: Dict[str, Value]  # model, batch_size, and every other axis
    fingerprint: str  # sha256 of the configuration; a cell with another one is another measurement
    workload: Optional[Workload]  # None where the flags were refused
    measuring: Measuring
    side: Dict[str, Value]  # fields of both contenders: runtime, device
    result: Optional[CellResult] = None  # None: not run yet


class SweepDocument(_Strict):
    """`sweep.json`."""

    schema_version: int = SWEEP_SCHEMA_VERSION
    sweep_id: str
    created: str  # ISO 8601, UTC
    status: Literal["running", "complete", "interrupted", "failed"] = "running"
    axes: Dict[str, List[Value]]
    order_seed: int  # of the order that the cells are run in
    machine: Dict[str, Any] = Field(default_factory=dict)
    cells: List[Cell]


def name_cell(values: Dict[str, Value]) -> str:
    """A cell in words: "resnet18 batch_size=4 feed=memory"."""
    others = [f"{axis}={value}" for axis, value in values.items() if axis != "model"]
    return " ".join([str(values["model"]), *others])


def without_batch_size(values: Dict[str, Value]) -> Dict[str, Value]:
    """Where a cell stands on all axes but the batch size: what its curve is named after."""
    return {axis: value for axis, value in values.items() if axis != "batch_size"}


def save_sweep(folder: Path, document: SweepDocument) -> None:
    """Replace `sweep.json`. Raises InputError where it cannot be written."""
    save_text(
        folder / SWEEP_NAME,
        document.model_dump_json(indent=1) + "\n",
        "make room there or give --out a folder you may write to",
    )


def load_sweep(folder: Path) -> SweepDocument:
    """Read a sweep's folder (or the `sweep.json` in it).

    Raises RecordError for a missing or damaged file and another schema version.
    """
    path = folder if folder.name == SWEEP_NAME else folder / SWEEP_NAME
    document: SweepDocument = load_document(
        path, SweepDocument, (SWEEP_SCHEMA_VERSION,), "sweep", "give a folder made by bench sweep"
    )
    return document
