"""The speed of one program in two runs that took no turns.

Each run's fresh processes are a sample. The samples are compared as in a run: a process has one
number, the two process estimates must agree, and both intervals must lie beyond the margin. The
interval is Welch's, over all processes of all waves, so that a drift within a run widens it.

A drift between the runs is in the ratio and in no interval. Each run times a fixed piece of work
that needs no OneFlow (`fixed_work_s`). If that became slower too, the slowdown that is supported
is what remains after it.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from pydantic import BaseModel

from ..config import Measuring
from ..record.events import ConditionsEvent, SpeedBlockEvent
from ..record.run import RunRecord
from .estimate import FEWEST_DF, PROCESS_ESTIMATES, QUICKEST_QUARTER, Estimate
from .judge import FASTER, INCONCLUSIVE, SLOWER, Interval, decide, doubt_medians, form_interval
from .summary import count_analyses, share_alpha, summarize_record_speed


class RunsJudgement(BaseModel):
    """Time before over time after: above 1 the program became faster."""

    verdict: str  # faster | slower | equivalent | inconclusive
    reason: str
    speedup: Optional[Interval]  # None if a run has no speed phase with this contender
    processes: List[int]  # of either run
    fixed_work: Optional[float]  # its time after over its time before; None if not recorded


def judge_runs(
    before: RunRecord, before_name: str, after: RunRecord, after_name: str, margins: Measuring
) -> RunsJudgement:
    """The verdict on one program of two records, by margins that need not be theirs."""
    sides = [(before, before_name), (after, after_name)]
    samples = [_collect_processes(record, name) for record, name in sides]
    counts = [len(sample) for sample in samples]
    fixed = [_read_fixed_work(record) for record, _ in sides]
    fixed_work = fixed[1] / fixed[0] if fixed[0] and fixed[1] else None
    judged: Dict[str, Any] = {"processes": counts, "fixed_work": fixed_work, "speedup": None}
    if not all(counts):
        reason = "a run without a speed phase has no fresh processes. Run both without `--no-speed`"
        return RunsJudgement(verdict=INCONCLUSIVE, reason=reason, **judged)
    analyses = max(count_analyses(record.events) for record, _ in sides)
    alpha = share_alpha(max(len(record.document.racing) for record, _ in sides))
    estimates = {name: _estimate(samples, name) for name in PROCESS_ESTIMATES}
    errors = {name: one.std_error for name, one in estimates.items() if one.std_error is not None}
    chosen = min(errors, key=errors.__getitem__) if errors else QUICKEST_QUARTER
    interval = judged["speedup"] = form_interval(estimates[chosen], analyses, alpha)
    verdict, reason = decide(interval, margins)
    doubt = doubt_medians(verdict, estimates, margins)
    if doubt is not None:
        verdict, reason = INCONCLUSIVE, doubt
    elif (
        verdict in (FASTER, SLOWER) and decide(_allow(interval, fixed_work), margins)[0] != verdict
    ):
        verdict = INCONCLUSIVE
        reason = (
            f"a fixed piece of work took {fixed_work:.3f} times as long in the second run, so the "
            "machine's speed changed. Measure both again, in turns if you can"
        )
    disturbed = [record.document.run_id for record, _ in sides if _is_disturbed(record)]
    if disturbed:
        verdict = INCONCLUSIVE
        reason = f"the control of {' and '.join(disturbed)} differs from its own program"
    return RunsJudgement(verdict=verdict, reason=reason, **judged)


def _collect_processes(record: RunRecord, name: str) -> List[np.ndarray]:
    """Log step times of each process that ran this contender's program, the control's too."""
    found: Dict[Any, List[float]] = {}
    for block in record.of_kind(SpeedBlockEvent, name):
        if block.kind == "scored" and block.duration_s > 0:
            key = (block.wave, block.role, block.replicate)
            found.setdefault(key, []).append(math.log(block.step_time_s))
    return [np.array(values) for values in found.values()]


def _estimate(samples: Sequence[Sequence[np.ndarray]], name: str) -> Estimate:
    """Welch's (Biometrika 34, 1947): every process counts once."""
    summarise = PROCESS_ESTIMATES[name]
    sides = [np.array([float(summarise(values)) for values in sample]) for sample in samples]
    log_ratio = float(sides[0].mean() - sides[1].mean())
    count = min(map(len, sides))
    if count <= FEWEST_DF:
        return Estimate(log_ratio, None, 0.0, count, None, None)
    parts = [float(side.var(ddof=1)) / len(side) for side in sides]
    squares = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides))
    df = sum(parts) ** 2 / squares if squares else float(sum(map(len, sides)) - 2)
    return Estimate(log_ratio, math.sqrt(sum(parts)), df, count, None, None)


def _allow(interval: Interval, fixed_work: Optional[float]) -> Interval:
    """The interval, drawn towards 1 by what the machine's own speed changed."""
    if fixed_work is None:
        return interval
    between = sorted((1.0, interval.ratio * fixed_work, interval.ratio))[1]
    factor = between / interval.ratio
    return Interval(**{k: v if v is None else v * factor for k, v in interval.model_dump().items()})


def _read_fixed_work(record: RunRecord) -> Optional[float]:
    """The median over the run; seconds."""
    events = record.of_kind(ConditionsEvent)
    times = [e.conditions["fixed_work_s"] for e in events if e.conditions.get("fixed_work_s")]
    return float(np.median(times)) if times else None


def _is_disturbed(record: RunRecord) -> bool:
    """Whether the control of any contender was judged different from the baseline."""
    first, *others = record.racing_names()
    found = [summarize_record_speed(record, first, name) for name in others]
    return any(one and one.judgement.control_verdict in (FASTER, SLOWER) for one in found)
