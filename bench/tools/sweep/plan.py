"""From lists of values to cells, and the order that they are run in.

The modes of a cell take turns, so that drift of the machine cancels out of its speedup. It does not
cancel between cells: if the models ran one after the other, or the batch sizes upwards, a machine
that slows down would look like a slow model or a steep cost per image. So the cells run in rounds
(a randomised block design, with time as the block). A round takes one cell of each model, in random
order, and each model takes its own cells in random order. The order comes from the stored seed. It
also makes the mean duration of the cells done a fair estimate for those left.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ....data.files import digest_file
from ....models import UnknownModelError, get_model_spec, list_models
from ...config import EMBEDDED_DATA, STEP_DATA, Workload
from ...errors import InputError
from ...plan.plan import Plan, create_plan, split_flags
from ...plan.recipe import load_recipe
from ...record.checkpoint import find_checkpoint
from ...record.machine import read_cpu, read_memory_bytes
from ...worker.environment import STOCK, TUNED
from ...worker.runtime_profile import find_oneflow
from .document import Cell, SweepDocument, Value, name_cell

# unless a flag or the recipe sets the length of the training
SHORT_TRAINING = {"epochs": 2, "steps_per_epoch": 60}

Progress = Callable[[int, int], None]
Digests = Dict[str, Optional[str]]


@dataclass(frozen=True)
class PlannedCell:
    cell: Cell
    plan: Optional[Plan]
    refusal: Optional[str] = None


def plan_sweep(
    sweep_id: str, flags: Mapping[str, Any], on_progress: Progress
) -> Tuple[SweepDocument, List[PlannedCell]]:
    """A new sweep and the plans of its cells, from flags of which some are lists.

    Raises InputError if no model fits a pattern, and if no cell can be run.
    """
    lists = {name: value for name, value in flags.items() if isinstance(value, tuple)}
    axes = create_axes(lists, flags["config"])
    shared = {name: value for name, value in flags.items() if name not in lists}
    shared.update({name: values[0] for name, values in lists.items() if name not in axes})
    planned, cpu = plan_cells(axes, shared, on_progress), read_cpu()
    document = SweepDocument(
        sweep_id=sweep_id,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        axes=axes,
        order_seed=(lists.get("seed") or (0,))[0],
        machine={
            "cpu": cpu["model"],
            "cores": cpu["cores"],
            "memory_bytes": read_memory_bytes(),
            "oneflow": find_oneflow(sys.executable),
        },
        cells=[one.cell for one in planned],
    )
    return document, planned


def create_axes(
    lists: Mapping[str, Sequence[Any]], config: Optional[str]
) -> Dict[str, List[Value]]:
    """Axes from the given flags: model and batch size always, others if they have two values.

    A `TrainingStep` has its own batches, and no batch size. Raises InputError if no model fits a
    pattern.
    """
    recipe, defaults = _load_recipe(config, lists), Workload()
    models, batch_sizes = (
        lists.get(name) or [recipe.get(name, getattr(defaults, name))]
        for name in ("model", "batch_size")
    )
    axes: Dict[str, List[Value]] = {"model": [*expand_models(models)]}
    if lists.get("data") != (STEP_DATA,) or "batch_size" in lists:
        axes["batch_size"] = [*batch_sizes]
    for name, values in lists.items():
        if name not in axes and len(values) > 1:
            axes[name] = list(values)
    return axes


def _load_recipe(config: Optional[str], given: Iterable[str]) -> Dict[str, Any]:
    return load_recipe(Path(config), given) if config else {}


def expand_models(patterns: Sequence[str]) -> List[str]:
    """Names that fit any of the patterns, once each, in the order of the patterns."""
    names: List[str] = []
    for pattern in patterns:
        found = [pattern] if ":" in pattern else list_models(pattern)  # a model of one's own
        if not found:
            raise InputError(_explain_unknown(pattern))
        names += found
    return list(dict.fromkeys(names))


def _explain_unknown(pattern: str) -> str:
    if not set("*?[") & set(pattern):
        try:
            get_model_spec(pattern)
        except UnknownModelError as error:
            return f"--model: {error}"
    return f"no model's name fits '{pattern}'; bench models lists them all"


def plan_cells(
    axes: Dict[str, List[Value]], flags: Dict[str, Any], on_progress: Progress
) -> List[PlannedCell]:
    """Every combination of the axes with the flags that all cells share.

    A combination that cannot be run is a refused cell. Raises InputError, with the first reason, if
    all of them are.
    """
    said = [*axes, *(name for name, value in flags.items() if value is not None)]
    recipe = _load_recipe(flags.get("config"), said)
    short = {name: value for name, value in SHORT_TRAINING.items() if name not in recipe}
    shared = {**short, **{k: v for k, v in flags.items() if v is not None}}
    places = [dict(zip(axes, combination)) for combination in itertools.product(*axes.values())]
    planned = []
    digests: Digests = {}
    for done, values in enumerate(places):
        on_progress(done, len(places))
        planned.append(_plan_cell(values, {**shared, **values}, digests))
    refusals = [one.refusal for one in planned if one.refusal]
    if len(refusals) == len(planned):
        more = "" if len(refusals) == 1 else f" (and so for all {len(refusals)} cells)"
        raise InputError(f"{name_cell(places[0])}: {refusals[0]}{more}")
    return planned


def _plan_cell(values: Dict[str, Value], flags: Dict[str, Any], digests: Digests) -> PlannedCell:
    workload, measuring, side = split_flags(flags)
    # time limits are no part of the configuration: they change no measured value
    facts: Dict[str, Any] = {"side": side, "measuring": measuring.model_dump(exclude={"timeout_s"})}
    if side.get("runtime") not in (None, TUNED, STOCK):
        facts["runtime_profile"] = _digest(str(side["runtime"]), digests)
    plan, refusal = None, None
    try:
        plan = create_plan(workload)
        facts["workload"] = plan.workload.model_dump()
        facts["sizes"] = [plan.train_samples, plan.val_samples, plan.steps_per_epoch]
        facts.update(_digest_inputs(plan, digests))
    except InputError as error:
        refusal = str(error)
        facts["flags"] = workload
    described = json.dumps(facts, sort_keys=True, default=str)
    cell = Cell(
        values=values,
        fingerprint=hashlib.sha256(described.encode()).hexdigest(),
        workload=plan.workload if plan else None,
        measuring=measuring,
        side=side,
    )
    return PlannedCell(cell, plan, refusal)


def _digest_inputs(plan: Plan, digests: Digests) -> Digests:
    """sha256 of the data and checkpoints that a plan names by their path."""
    work, found = plan.workload, {}
    if plan.dataset is not None and work.data != EMBEDDED_DATA:
        root = str(plan.dataset.root)
        if root not in digests:  # data without an index are read in whole
            digests[root] = plan.dataset.checksum
        found["data_checksum"] = digests[root]
    for name in ("load_checkpoint", "teacher_checkpoint"):
        path = getattr(work, name)
        if path is not None:
            found[name] = _digest(str(find_checkpoint(Path(path))), digests)
    return found


def _digest(name: str, digests: Digests) -> Optional[str]:
    """sha256 of a file or of all files in a folder; None if it cannot be read.

    Its cell reports that later. `digests` keeps what was read, since cells share their files.
    """
    if name not in digests:
        path = Path(name)
        try:
            digests[name] = _digest_folder(path) if path.is_dir() else digest_file(path)
        except OSError:
            digests[name] = None
    return digests[name]


def _digest_folder(folder: Path) -> str:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    described = json.dumps({name: digest_file(path) for name, path in sorted(files.items())})
    return hashlib.sha256(described.encode()).hexdigest()


def order_cells(cells: Sequence[Cell], seed: int) -> List[int]:
    """Positions of the cells in the order they are run in: rounds over the models, see above."""
    source = random.Random(seed)
    by_model: Dict[Value, List[int]] = {}
    for position, cell in enumerate(cells):
        by_model.setdefault(cell.values["model"], []).append(position)
    for positions in by_model.values():
        source.shuffle(positions)
    order = []
    for together in itertools.zip_longest(*by_model.values()):
        present = [position for position in together if position is not None]
        source.shuffle(present)
        order += present
    return order
