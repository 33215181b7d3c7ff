"""From lists of values to cells, and which of them are still to be run.

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

from ....models import UnknownModelError, get_model_spec, list_models
from ...config import STEP_DATA, Workload
from ...errors import InputError
from ...plan.plan import Plan, create_plan, split_flags
from ...plan.recipe import load_recipe
from ...record.machine import read_cpu, read_memory_bytes
from ...worker.environment import STOCK, TUNED
from ...worker.runtime_profile import find_oneflow
from .document import (
    SAME_MACHINE,
    SWEEP_NAME,
    Cell,
    CellResult,
    SweepDocument,
    Value,
    load_sweep,
    name_cell,
)

# unless a flag or the recipe sets the length of the training
SHORT_TRAINING = {"epochs": 2, "steps_per_epoch": 60}

Progress = Callable[[int, int], None]


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
    for done, values in enumerate(places):
        on_progress(done, len(places))
        planned.append(_plan_cell(values, {**shared, **values}))
    refusals = [one.refusal for one in planned if one.refusal]
    if len(refusals) == len(planned):
        more = "" if len(refusals) == 1 else f" (and so for all {len(refusals)} cells)"
        raise InputError(f"{name_cell(places[0])}: {refusals[0]}{more}")
    return planned


def _plan_cell(values: Dict[str, Value], flags: Dict[str, Any]) -> PlannedCell:
    workload, measuring, side = split_flags(flags)
    # time limits are no part of the configuration: they change no measured value
    facts: Dict[str, Any] = {"side": side, "measuring": measuring.model_dump(exclude={"timeout_s"})}
    if side.get("runtime") not in (None, TUNED, STOCK):
        facts["runtime_profile"] = _digest(Path(str(side["runtime"])))
    plan, refusal = None, None
    try:
        plan = create_plan(workload)
        facts["workload"] = plan.workload.model_dump()
        facts["sizes"] = [plan.train_samples, plan.val_samples, plan.steps_per_epoch]
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


def _digest(path: Path) -> Optional[str]:
    """sha256 of a file's content; None if it cannot be read, which its cell reports later."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


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


def find_stored_sweep(folder: Path) -> Optional[SweepDocument]:
    """The sweep in a folder; None for a new one. Raises InputError for a folder of other things."""
    if (folder / SWEEP_NAME).exists():
        return load_sweep(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"--out {folder} exists and holds no sweep; give a new folder, or that of the sweep "
            "to go on with"
        )
    return None


def carry_results(
    stored: SweepDocument,
    wanted: SweepDocument,
    folder: Path,
    cell_timeout_s: float,
    retry_failed: bool,
) -> int:
    """Give `wanted` the date of `stored`, and its results for cells of the same configuration.

    Returns the number of stored results that are dropped, since their configuration changed. A
    sweep may grow by cells and may not lose any. Raises InputError for that, and for another
    machine.
    """
    differing = [k for k in SAME_MACHINE if stored.machine.get(k) != wanted.machine.get(k)]
    if differing:
        raise InputError(
            f"the sweep in {folder} was measured on another machine (other "
            f"{', '.join(differing)}); give --out a new folder"
        )
    by_name = {cell.name: cell for cell in wanted.cells}
    lost = [cell.name for cell in stored.cells if cell.name not in by_name]
    if lost:
        raise InputError(
            f"{folder} holds another sweep, with {len(lost)} cells that were not asked for now "
            f"(first: {lost[0]}); ask for them too, or give --out a new folder"
        )
    wanted.created = stored.created
    changed = 0
    for before in stored.cells:
        now, result = by_name[before.name], before.result
        if result is None:
            continue
        if before.fingerprint != now.fingerprint:
            changed += 1
        elif _stands(result, cell_timeout_s, retry_failed):
            now.result = result
    return changed


def _stands(result: CellResult, cell_timeout_s: float, retry_failed: bool) -> bool:
    """Whether a stored result still holds: a longer limit may change a timeout."""
    outlasted = result.status == "timeout" and cell_timeout_s > result.cell_timeout_s
    return result.status == "done" or not (outlasted or retry_failed)
