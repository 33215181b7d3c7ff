"""A layer profile and the machine's limits as data: `profile.json`. Everything in SI units."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from pydantic import AliasChoices, ConfigDict, Field

from ...config import Workload
from ...errors import InputError
from ...plan.checks import flag_of
from ...record.run import load_document
from ...verdict.statistics import Ratio, Summary, summarize
from .work import (
    Ceiling,
    LayerFloor,
    LayerTime,
    LayerWork,
    Part,
    create_roofs,
    layer_floors,
)

SCHEMA_VERSION = 1
PROFILE_NAME = "profile.json"
LIMITS_NAME = "limits.json"  # of the command `bench limits`, whose documents stay readable


class LayerProfile(Part):
    """One leaf. Lists have a value for each iteration or repeat; empty for none."""

    name: str
    kind: str
    calls: int  # in one iteration
    output_shape: List[int]  # of the first call
    num_params: int
    param_sizes: Optional[List[int]] = None  # of each that is trained; None in older profiles
    forward_s: List[float]  # in the step
    backward_s: List[float]  # alone, on the step's input and output gradient
    graph_forward_s: List[float] = []  # compiled alone
    graph_forward_backward_s: List[float] = []
    starts_s: List[float] = []  # of the last iteration's calls, since the profile began
    spans_s: List[float] = []


class GraphFacts(Part):
    """The compiled train step, as far as OneFlow describes it."""

    compile_s: float
    ops_built: Dict[str, int]  # operators by type, as traced with backward and update
    ops_compiled: Dict[str, int]  # after OneFlow's passes
    step_s: List[float]

    def added_types(self) -> Dict[str, int]:
        """Types that only the passes brought in: fused operators, transfers and the like."""
        return {
            kind: count for kind, count in self.ops_compiled.items() if kind not in self.ops_built
        }


class StepParts(Part):
    """Parts of one eager step with nothing wrapped, each synchronised; a value an iteration."""

    step_s: List[float]  # without synchronisations between the parts
    forward_s: List[float]
    loss_s: List[float]
    backward_s: List[float]
    update_s: List[float]


class StepTimes(Part):
    """A contender's train step; no times and an error if it could not run."""

    name: str
    library: str  # oneflow or torch
    mode: str  # eager, graph or compiled
    block_steps: int = 0
    step_time_s: List[float] = []  # of each block
    compile_s: Optional[float] = None
    environment: Dict[str, Any] = {}
    error: Optional[str] = None


class StepRatio(Part):
    """Baseline time over contender time."""

    baseline: str
    contender: str
    ratio: Ratio


class LossRun(Part):
    """Losses of the same steps from the same weights; None for a loss that is not finite.

    `max_relative_difference` is to OneFlow's eager mode; None for that mode itself, and if a
    loss is not finite.
    """

    name: str
    losses: List[Optional[float]] = []
    max_relative_difference: Optional[float] = None
    error: Optional[str] = None


class LimitsDocument(Part):
    """A step's work, the machine's ceilings, and the measured steps of OneFlow and PyTorch."""

    model_config = ConfigDict(extra="ignore", frozen=True)  # limits.json also held layer times

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
    loss_runs: List[LossRun] = Field([], validation_alias=AliasChoices("loss_runs", "witness"))
    dropout_layers: int = 0  # switched off for the losses alone


class ProfileDocument(Part):
    """`profile.json`."""

    schema_version: int = SCHEMA_VERSION
    model: str
    mode: str
    batch_size: int
    image_size: int
    iterations: int
    created: str
    machine: Dict[str, Any]
    environment: Dict[str, Any]
    layers: List[LayerProfile]
    parts: StepParts
    profiled_step_s: List[float]
    graph: Optional[GraphFacts] = None
    limits: Optional[LimitsDocument] = None


def load_profile(
    path: Path, remedy: str = "give the folder of a `bench profile`"
) -> ProfileDocument:
    """Read a profile: a `.json` file, or `profile.json` of a folder.

    Raises RecordError if it cannot be used.
    """
    file = path if path.suffix == ".json" else path / PROFILE_NAME
    document: ProfileDocument = load_document(
        file, ProfileDocument, [SCHEMA_VERSION], "profile", remedy
    )
    return document


def load_limits(folder: Path) -> LimitsDocument:
    """The limits in a folder of `bench profile --limits`, or of the older `bench limits`.

    Raises RecordError or InputError if there are none that can be used.
    """
    remedy = "give the folder of a `bench profile --limits`"
    if (folder / LIMITS_NAME).exists():
        older: LimitsDocument = load_document(
            folder / LIMITS_NAME, LimitsDocument, [SCHEMA_VERSION], "document of limits", remedy
        )
        return older
    limits = load_profile(folder, remedy).limits
    if limits is None:
        raise InputError(f"the profile in {folder} was made without --limits; {remedy}")
    return limits


def check_limits(limits: LimitsDocument, workload: Workload) -> None:
    """Raise InputError for limits of another step than that of `workload`."""
    for field in ("model", "model_args", "batch_size", "image_size", "num_classes"):
        has, wanted = getattr(limits.workload, field), getattr(workload, field)
        if has != wanted:
            raise InputError(
                f"--limits is of {flag_of(field)} {has} and this run has {wanted}; give one of the "
                "same step, or --limits without a folder to measure them"
            )


def find_floors(profile: ProfileDocument, limits: LimitsDocument) -> Dict[str, LayerFloor]:
    """Floors of the layers by name, on all cores, with their shares of the measured times.

    A share is of the times in the profile: forward, and backward if it has one. Raises
    InputError if the two have other layers.
    """
    params = {layer.name: layer.num_params for layer in limits.layers}
    if any(params.get(layer.name) != layer.num_params for layer in profile.layers):
        raise InputError(
            "the profile and the limits have other layers or parameters; make both with the same "
            "--num-classes and --model-arg"
        )
    times = {
        row.layer.name: LayerTime(
            row.forward.median, None if row.backward is None else row.backward.median
        )
        for row in layer_rows(profile)
    }
    roof = create_roofs(limits.ceilings, limits.cores)[-1]
    return {floor.layer.name: floor for floor in layer_floors(limits.layers, roof, times)}


class LayerRow(NamedTuple):
    """A layer as it is shown. In graph mode the times are those of the layer compiled alone."""

    layer: LayerProfile
    forward: Summary
    backward: Optional[Summary]
    share: float  # of the sum over all layers

    @property
    def total_s(self) -> float:
        return self.forward.median + (self.backward.median if self.backward else 0.0)


def layer_rows(document: ProfileDocument) -> List[LayerRow]:
    """Rows in the order of the layers' first calls."""
    rows = []
    for layer in document.layers:
        forward, backward = summarize(layer.forward_s), layer.backward_s
        if document.mode == "graph" and layer.graph_forward_s:
            forward = summarize(layer.graph_forward_s)
        if document.mode == "graph" and layer.graph_forward_backward_s:
            backward = [max(0.0, b - forward.median) for b in layer.graph_forward_backward_s]
        rows.append(LayerRow(layer, forward, summarize(backward) if backward else None, 0.0))
    whole_s = sum(row.total_s for row in rows) or 1.0
    return [row._replace(share=row.total_s / whole_s) for row in rows]


def select_rows(rows: Sequence[LayerRow], top: Optional[int]) -> List[LayerRow]:
    """The `top` layers by time, in the order of the model; all with None."""
    chosen = sorted(range(len(rows)), key=lambda number: -rows[number].total_s)[:top]
    return [rows[number] for number in sorted(chosen)]


def remainder_rows(document: ProfileDocument) -> List[Tuple[str, float]]:
    """(name, seconds) of the parts of the step outside the layers; may be below 0.

    Layers are timed one at a time, which costs a synchronisation each and gains a warm cache. The
    difference is shown and not spread over the layers.
    """
    rows, parts = layer_rows(document), document.parts
    if document.graph is not None:
        layers = sum(row.total_s for row in rows)
        step = _median(document.graph.step_s)
        return [("layers alone, sum", layers), ("the rest of the step", step - layers)]
    forward, loss = _median(parts.forward_s), _median(parts.loss_s)
    backward, update = _median(parts.backward_s), _median(parts.update_s)
    layer_forward = sum(row.forward.median for row in rows)
    layer_backward = sum(row.backward.median for row in rows if row.backward)
    return [
        ("forward outside the layers", forward - layer_forward),
        ("loss", loss),
        ("backward outside the layers", backward - layer_backward),
        ("optimizer", update),
        (
            "overlap (negative: time gained)",
            _median(parts.step_s) - (forward + loss + backward + update),
        ),
    ]


def _median(values: Sequence[float]) -> float:
    return summarize(values).median
