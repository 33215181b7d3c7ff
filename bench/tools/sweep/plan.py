"""From lists of values to cells, and which of them are still to be run.

Order of the cells. The modes of a cell take turns, so that drift of the machine cancels out of its
speedup. It does not cancel between cells. If the models ran one after the other, or the batch sizes
upwards, a machine that slows down would look like a slow model or like a steep cost per image. So
the cells run in rounds. A round takes one cell of each model, in random order, and each model takes
its own cells in random order (a randomised block design, with time as the block). The order comes
from the seed and is stored. It also makes the mean duration of the cells done a fair estimate for
the cells left, and gives every model some cells early.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ....models import UnknownModelError, get_model_spec, list_models
from ...config import Workload
from ...errors import InputError
from ...plan.plan import Plan, create_plan, split_flags
from ...plan.recipe import load_recipe
from ...record.machine import read_cpu, read_memory_bytes
from ...worker.environment import STOCK, TUNED
from ...worker.runtime_profile import find_oneflow
from .document import SWEEP_NAME, Cell, SweepDocument, Value, load_sweep, name_cell

# unless a flag or the recipe sets the length of the training
SHORT_TRAINING = {"epochs": 2, "steps_per_epoch": 60}

# the memory is left out: a kernel's own share of it changes from one start to the next
SAME_MACHINE = ("cpu", "cores", "oneflow")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PlannedCell:
    """A cell and the plan it is run by, or why it was refused."""

    cell: Cell
    plan: Optional[Plan]
    refusal: Optional[str] = None


def create_axes(
    lists: Mapping[str, Sequence[Any]], config: Optional[str]
) -> Dict[str, List[Value]]:
    """Axes from the given flags: model and batch size always, others if they have two values.

    Raises InputError if no model fits a pattern.
    """
    recipe = load_recipe(Path(config)) if config else {}
    defaults = Workload()
    models = lists.get("model") or [recipe.get("model", defaults.model)]
    batch_sizes = lists.get("batch_size") or [recipe.get("batch_size", defaults.batch_size)]
    axes: Dict[str, List[Value]] = {
        "model": list(expand_models(models)),
        "batch_size": list(batch_sizes),
    }
    others = {name: list(values) for name, values in lists.items() if name not in axes}
    axes.update({name: values for name, values in others.items() if len(values) > 1})
    return axes


def expand_models(patterns: Sequence[str]) -> List[str]:
    """Names that fit any of the patterns, once each, in the order of the patterns."""
    names: Dict[str, None] = {}
    for pattern in patterns:
        if ":" in pattern:  # a model of one's own
            names[pattern] = None
            continue
        found = list_models(pattern)
        if not found and not set("*?[") & set(pattern):
            try:
                get_model_spec(pattern)
            except UnknownModelError as error:
                raise InputError(f"--model: {error}") from None
        if not found:
            raise InputError(f"no model's name fits '{pattern}'; bench models lists them all")
        names.update(dict.fromkeys(found))
    return list(names)


def plan_cells(
    axes: Dict[str, List[Value]], flags: Dict[str, Any], on_progress: Progress
) -> List[PlannedCell]:
    """Every combination of the axes with the flags that all cells share.

    A combination that cannot be run is a refused cell. Raises InputError, with the first reason, if
    all of them are.
    """
    shared = {**_short_training(flags), **{k: v for k, v in flags.items() if v is not None}}
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


def _short_training(flags: Dict[str, Any]) -> Dict[str, Any]:
    recipe = load_recipe(Path(flags["config"])) if flags.get("config") else {}
    return {name: value for name, value in SHORT_TRAINING.items() if name not in recipe}


def _plan_cell(values: Dict[str, Value], flags: Dict[str, Any]) -> PlannedCell:
    workload, measuring, side = split_flags(flags)
    plan, refusal = None, None
    try:
        plan = create_plan(workload)
    except InputError as error:
        refusal = str(error)
    facts: Dict[str, Any] = {"side": side, "measuring": measuring.model_dump(exclude={"timeout_s"})}
    if side.get("runtime") not in (None, TUNED, STOCK):
        facts["runtime_profile"] = _digest(Path(str(side["runtime"])))
    if plan is None:
        facts["flags"] = workload
    else:
        facts["workload"] = plan.workload.model_dump()
        facts["sizes"] = [plan.train_samples, plan.val_samples, plan.steps_per_epoch]
    cell = Cell(
        values=values,
        fingerprint=create_fingerprint(facts),
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


def create_fingerprint(facts: Dict[str, Any]) -> str:
    """sha256 of a configuration. Time limits are no part of it: they change no measured value."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


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


def describe_sweep_machine() -> Dict[str, Any]:
    """The machine of a sweep; all its cells have to share the values named in `SAME_MACHINE`."""
    cpu = read_cpu()
    return {
        "cpu": cpu["model"],
        "cores": cpu["cores"],
        "memory_bytes": read_memory_bytes(),
        "oneflow": find_oneflow(sys.executable),
    }


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
    """Give the cells of `wanted` the results that `stored` has for the same configuration.

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
    by_name = {name_cell(cell.values): cell for cell in wanted.cells}
    lost = [name_cell(c.values) for c in stored.cells if name_cell(c.values) not in by_name]
    if lost:
        raise InputError(
            f"{folder} holds another sweep, with {len(lost)} cells that were not asked for now "
            f"(first: {lost[0]}); ask for them too, or give --out a new folder"
        )
    changed = 0
    for before in stored.cells:
        now = by_name[name_cell(before.values)]
        if before.result is None:
            continue
        if before.fingerprint != now.fingerprint:
            changed += 1
        elif _stands(before, cell_timeout_s, retry_failed):
            now.result = before.result
    return changed


def _stands(cell: Cell, cell_timeout_s: float, retry_failed: bool) -> bool:
    """Whether a stored result still holds: a longer limit may change a timeout."""
    assert cell.result is not None
    if cell.result.status == "done":
        return True
    if cell.result.status == "timeout" and cell_timeout_s > cell.result.cell_timeout_s:
        return False
    return not retry_failed
