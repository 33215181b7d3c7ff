"""What `bench limits` writes: `limits.json`. Seconds, bytes, operations and their rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

from pydantic import BaseModel, ConfigDict

from ...config import Workload
from ...record.run import load_document
from ...verdict.statistics import Ratio
from .work import LayerWork

SCHEMA_VERSION = 1
DOCUMENT_NAME = "limits.json"
MATMUL, COPY = "matmul", "copy"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Ceiling(_Part):
    """One thing that the machine was measured at."""

    what: str  # MATMUL, in operations a second, or COPY, in bytes a second
    library: str  # oneflow or numpy
    threads: int
    size: int  # rows of the square matrices, or bytes of the buffer
    rates: List[float]  # run by run

    @property
    def best(self) -> float:
        return max(self.rates)


class StepTimes(_Part):
    """A contender's train step; no times and an error where it could not run."""

    name: str
    library: str  # oneflow or torch
    mode: str  # eager, graph or compiled
    block_steps: int = 0
    step_time_s: List[float] = []  # of each block
    compile_s: Optional[float] = None
    environment: Dict[str, Any] = {}
    error: Optional[str] = None


class StepRatio(_Part):
    """Baseline time over contender time."""

    baseline: str
    contender: str
    ratio: Ratio


class Witness(_Part):
    """Losses of the same steps from the same weights; None where a loss is not finite.

    `max_relative_difference` is to OneFlow's eager mode; None for that mode itself, and where a
    loss is not finite.
    """

    name: str
    losses: List[Optional[float]] = []
    max_relative_difference: Optional[float] = None
    error: Optional[str] = None


class LayerTime(_Part):
    """Median seconds of a layer in a stored profile; None where its backward was not measured."""

    name: str
    forward_s: float
    backward_s: Optional[float]


class LimitsDocument(_Part):
    """`limits.json`."""

    schema_version: int = SCHEMA_VERSION
    created: str
    workload: Workload
    runtime: str
    machine: Dict[str, Any]
    cores: int  # usable
    layers: List[LayerWork]
    ceilings: List[Ceiling]
    steps: List[StepTimes]
    ratios: List[StepRatio] = []
    witness: List[Witness] = []
    dropout_layers: int = 0  # switched off for the witness alone
    profile: Optional[str] = None  # the folder that `layer_times` are from
    layer_times: List[LayerTime] = []


def load_limits(folder: Path) -> LimitsDocument:
    """Read `limits.json` of `folder`. Raises RecordError where it cannot be used."""
    document: LimitsDocument = load_document(
        folder / DOCUMENT_NAME,
        LimitsDocument,
        [SCHEMA_VERSION],
        "document of limits",
        "give the folder of a `bench limits`",
    )
    return document
