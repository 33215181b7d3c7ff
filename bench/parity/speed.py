"""The speed of a checked model: graph against eager mode, by the suite's speed verdict.

A check times nothing by itself. Where speed is asked for, fresh processes of both modes are
measured after it, on the same workload, and what the verdict says is kept with the check.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Optional

from ..config import Contender, Measuring
from ..errors import WorkerError
from ..measure.execution import execute_speed
from ..plan.plan import Plan
from ..record.run import Document
from ..verdict.summary import summarize_record_speed
from ..worker.environment import RuntimeResolver
from ..worker.launch import create_launcher
from .result import ModelCheck, Speedup
from .series import CheckModel, Observer

SPEED_FOLDER = "speed"  # in the model's folder: a record as bench compare writes it


def measure_speedup(
    plan: Plan,
    folder: Path,
    measuring: Measuring,
    observe: Observer,
    launch: Optional[Callable[[Contender], Any]] = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Speedup:
    """Eager time over graph time of the plan's train step, within `measuring.budget_s` seconds.

    The record goes to `folder`/speed. A worker that fails is a result, with its message.
    """
    place = folder / SPEED_FOLDER
    document = Document(
        run_id=f"{folder.name}-speed",
        command="compare",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        workload=plan.workload,
        measuring=measuring,
        contenders=[Contender(name=mode, mode=mode) for mode in ("eager", "graph")],
        train_samples=plan.train_samples,
        val_samples=plan.val_samples,
        steps_per_epoch=plan.steps_per_epoch,
    )
    start = launch or create_launcher(place, RuntimeResolver())
    try:
        record = execute_speed(document, place, start, plan.prepare_dataset, observe, clock)
    except WorkerError:
        return _fail(str(document.error))
    summary = summarize_record_speed(record, "eager", "graph")
    if summary is None:
        return _fail("no block")
    judgement = summary.judgement
    return Speedup(
        ratio=judgement.speedup.ratio,
        low=judgement.speedup.low,
        high=judgement.speedup.high,
        verdict=judgement.verdict,
        reason=judgement.reason,
        control_verdict=judgement.control_verdict,
        replicates=judgement.replicates,
        duration_s=summary.duration_s,
    )


def _fail(error: str) -> Speedup:
    return Speedup(verdict="inconclusive", reason="its measuring failed", error=error)


def create_speed_checker(check_model: CheckModel, measuring: Measuring) -> CheckModel:
    """A `check_model` that measures the speed after each check that came to its end."""

    def check(plan: Plan, folder: Path, timeout_s: float, observe: Observer) -> ModelCheck:
        found = check_model(plan, folder, timeout_s, observe)
        found.speedup = measure_speedup(plan, folder, measuring, observe)
        return found

    return check
