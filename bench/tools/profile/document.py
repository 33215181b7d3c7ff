"""A layer profile and the machine's limits as data: `profile.json`. Everything in SI units."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from pydantic import AliasChoices, Field

from ...config import Workload
from ...errors import InputError
from ...plan.checks import flag_of
from ...record.run import load_document
from ...verdict.statistics import Ratio, Summary, summarize
from .work import Ceiling, LayerWork, Part, Product, create_roof

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
    forward_computing_s: List[float] = []  # of these, by the thread that computes
    backward_computing_s: List[float] = []
    products: List[Product] = []  # empty in older profiles
    im2col_s: Optional[float] = None  # of forward and backward; None if it was not measured
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


class StepParts(Part):
    """Parts of one eager step with nothing wrapped, each synchronised; a value an iteration."""

    step_s: List[float]  # without synchronisations between the parts
    forward_s: List[float]
    loss_s: List[float]
    backward_s: List[float]
    update_s: List[float]


class ComputingTimes(Part):
    """Eager steps with nothing wrapped, a value a step; with the thread that computes operators.

    `computing_s` is its processor time, and empty if the system does not count it.
    """

    step_s: List[float]
    computing_s: List[float]


class StepTimes(Part, frozen=False):  # filled in while it is measured
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


def relative_differences(
    reference: Sequence[Optional[float]], losses: Sequence[Optional[float]]
) -> List[Optional[float]]:
    """|loss - reference| / |reference| step by step; None if one is not finite.

    None too if a reference of 0 is missed. Empty for unequal numbers of steps.
    """
    if len(losses) != len(reference):
        return []
    return [
        None
        if expected is None or loss is None or (expected == 0 and loss != 0)
        else abs(loss - expected) / (abs(expected) or 1.0)
        for expected, loss in zip(reference, losses)
    ]


class LimitsDocument(Part, extra="ignore"):  # limits.json also held layer times
    """A step's work, the machine's ceilings, and the measured steps of OneFlow and PyTorch."""

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
    schema_version: int = SCHEMA_VERSION
    model: str
    mode: str
    batch_size: int
    image_size: int
    batch: str = ""  # the inputs of a TrainingStep's batch; "" for images
    iterations: int
    created: str
    machine: Dict[str, Any]
    environment: Dict[str, Any]
    layers: List[LayerProfile]
    parts: StepParts
    profiled_step_s: List[float]
    computing: Optional[ComputingTimes] = None  # with --limits
    graph: Optional[GraphFacts] = None
    limits: Optional[LimitsDocument] = None

    def describe_batch(self) -> str:
        return self.batch or f"batch {self.batch_size}, {self.image_size} px"


def load_profile(
    path: Path, remedy: str = "give the folder of a `bench profile`"
) -> ProfileDocument:
    """Read a profile: a `.json` file, or `profile.json` of a folder.

    Raises RecordError if it cannot be used.
    """
    file = path if path.suffix == ".json" else path / PROFILE_NAME
    return load_document(file, ProfileDocument, [SCHEMA_VERSION], "profile", remedy)


def load_limits(folder: Path) -> LimitsDocument:
    """The limits in a folder of `bench profile --limits`, or of the older `bench limits`.

    Raises RecordError or InputError if there are none that can be used.
    """
    remedy = "give the folder of a `bench profile --limits`"
    older = folder / LIMITS_NAME
    if older.exists():
        return load_document(older, LimitsDocument, [SCHEMA_VERSION], "document of limits", remedy)
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


class LayerRow(NamedTuple):
    """A layer as it is shown. In graph mode the times are those of the layer compiled alone."""

    layer: LayerProfile
    forward: Summary
    backward: Optional[Summary]
    share: float = 0.0  # of the sum over all layers
    work: Optional[LayerWork] = None  # with limits, as are the floors on all cores
    floor_s: float = 0.0  # least seconds of forward, backward and update
    timed_floor_s: float = 0.0  # of the passes that were timed
    limit: str = ""  # compute or memory

    @property
    def backward_s(self) -> float:
        """The median, 0 where it was not measured."""
        return self.backward.median if self.backward else 0.0

    @property
    def total_s(self) -> float:
        return self.forward.median + self.backward_s


def layer_rows(
    document: ProfileDocument, limits: Optional[LimitsDocument] = None
) -> List[LayerRow]:
    """Rows in the order of the layers' first calls, with floors if there are `limits`.

    Raises InputError if the limits have other layers.
    """
    rows = create_rows(document.layers, document.mode)
    return rows if limits is None else [_add_floor(row, limits) for row in rows]


def create_rows(layers: Sequence[LayerProfile], mode: str = "eager") -> List[LayerRow]:
    """A row for each layer, with its share of the time of all."""
    rows = []
    for layer in layers:
        forward, backward = summarize(layer.forward_s), layer.backward_s
        if mode == "graph" and layer.graph_forward_s:
            forward = summarize(layer.graph_forward_s)
        if mode == "graph" and layer.graph_forward_backward_s:
            backward = [max(0.0, b - forward.median) for b in layer.graph_forward_backward_s]
        rows.append(LayerRow(layer, forward, summarize(backward) if backward else None))
    whole_s = sum(row.total_s for row in rows) or 1.0
    return [row._replace(share=row.total_s / whole_s) for row in rows]


def _add_floor(row: LayerRow, limits: LimitsDocument) -> LayerRow:
    work = next((each for each in limits.layers if each.name == row.layer.name), None)
    if work is None or work.num_params != row.layer.num_params:
        raise InputError(
            "the profile and the limits have other layers or parameters; make both with the same "
            "--num-classes and --model-arg"
        )
    roof = create_roof(limits.ceilings, limits.cores)
    timed_s = roof.time_s(work.forward) + (roof.time_s(work.backward) if row.backward else 0.0)
    return row._replace(
        work=work,
        floor_s=roof.floor_s([work]),
        timed_floor_s=timed_s,
        limit=roof.limit_of(work.total),
    )


def select_rows(rows: Sequence[LayerRow], top: Optional[int]) -> List[LayerRow]:
    """The `top` layers by time, in the order of the model; all with None."""
    chosen = sorted(range(len(rows)), key=lambda number: -rows[number].total_s)[:top]
    return [rows[number] for number in sorted(chosen)]


def remainder_rows(document: ProfileDocument) -> List[Tuple[str, float]]:
    """(name, seconds) of the parts of the step outside the layers; may be below 0.

    Layers are timed one at a time, which costs a synchronisation each and gains a warm cache. The
    difference is shown and not spread over the layers.
    """
    rows = layer_rows(document)
    if document.graph is not None:
        layers = sum(row.total_s for row in rows)
        step = summarize(document.graph.step_s).median
        return [("layers alone, sum", layers), ("the rest of the step", step - layers)]
    step, *parts = (summarize(values).median for _, values in document.parts)
    forward, loss, backward, update = parts
    return [
        ("forward outside the layers", forward - sum(row.forward.median for row in rows)),
        ("loss", loss),
        ("backward outside the layers", backward - sum(row.backward_s for row in rows)),
        ("optimizer", update),
        ("overlap (negative: time gained)", step - sum(parts)),
    ]
