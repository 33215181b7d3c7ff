"""The speed verdict of a record: from the events of the speed phase to a judgement.

Everything here is computed from events, so that a stored run is judged again as often as asked.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
from pydantic import BaseModel

from ..record.events import (
    ROLES,
    ConditionsEvent,
    InterimAnalysisEvent,
    ProcessEvent,
    SpeedBlockEvent,
    SpeedEndEvent,
    SpeedSetupEvent,
)
from ..record.run import RunRecord
from .conditions import find_warnings, measure_controller_share
from .estimate import PROCESS_ESTIMATES, ProcessEstimate, Wave, estimate_speedup, mean
from .judge import (
    DIFFERENCE_ALPHA,
    INCONCLUSIVE,
    Interval,
    Judgement,
    Margins,
    form_interval,
    judge,
)
from .statistics import BreakEven, Ratio, Summary, estimate_break_even, summarize
from .stopping import measure_warmup

Value = Callable[[SpeedBlockEvent], Optional[float]]


class RoleSummary(BaseModel):
    """The processes of one role. Seconds, bytes; medians over the processes unless noted."""

    contender: str
    processes: int
    step_time_s: Summary  # over the scored blocks
    warmup_steps: float  # until the change point, of a process
    warmup_s: float
    compile_s: Summary
    loader_step_time_s: float
    peak_rss_bytes: Optional[float]


class SpeedSummary(BaseModel):
    """The speed phase of a run."""

    judgement: Judgement
    roles: Dict[str, RoleSummary]
    block_steps: int
    blocks: int  # scored, of the three roles
    duration_s: float  # from the phase's start to the end of its last block
    mean: Optional[Interval]  # the same ratio by the mean of all blocks: a secondary estimate
    cpu: Optional[Interval]  # and in processor seconds
    instructions: Optional[Interval]
    unreadable: Dict[str, str]  # counter -> why it could not be read
    energy_per_step_j: Dict[str, float]  # by role; empty if it cannot be read
    break_even: Optional[BreakEven]
    warnings: List[str]
    controller_share: Optional[float] = None  # its processor time over the time of the phase
    earlier_replicates: int = 0  # measured before the phase was continued for the last time

    @property
    def ratio(self) -> Ratio:
        """As the ratio of a comparison; what was counted are replicates."""
        judgement = self.judgement
        return Ratio(
            **judgement.speedup.model_dump(include={"ratio", "low", "high"}),
            count=judgement.replicates,
            paired=True,
            smallest_effect=judgement.smallest_effect,
        )


def summarize_record_speed(
    record: RunRecord, baseline: str, contender: str
) -> Optional[SpeedSummary]:
    """The speed of two contenders by the run's margins. None if it was not measured."""
    events = select_contender(record.events, contender)
    alpha = share_alpha(len(record.document.racing) - 1)
    speed = summarize_speed(events, record.document.measuring, alpha)
    return speed if speed and speed.roles["baseline"].contender == baseline else None


def judge_record_speed(record: RunRecord, baseline: str, contender: str) -> Optional[Judgement]:
    """The judgement of `summarize_record_speed` alone, in a tenth of its time."""
    events = select_contender(record.events, contender)
    blocks = [e for e in events if type(e) is SpeedBlockEvent]
    if not any(b.role == "baseline" and b.contender == baseline for b in blocks):
        return None
    alpha = share_alpha(len(record.document.racing) - 1)
    return judge_blocks(blocks, count_analyses(events), record.document.measuring, alpha)


def share_alpha(contenders: int) -> float:
    """The error that the sequential intervals of each contender may make; 1 % for all together.

    By the union bound, because the verdicts share the baseline's processes and so depend on each
    other.
    """
    return DIFFERENCE_ALPHA / max(1, contenders)


def select_contender(events: Sequence[Any], contender: str) -> List[Any]:
    """A contender's events, and those of the baseline and the control in the same waves."""
    # of the types and not of each event, as `isinstance` is slow with pydantic
    kinds = {kind for kind in set(map(type, events)) if issubclass(kind, ProcessEvent)}
    processes = [e for e in events if type(e) in kinds and e.role == "contender"]
    waves = {e.wave for e in processes if e.contender == contender}
    return [
        e
        for e in events
        if type(e) not in kinds
        or (e.wave in waves and (e.role != "contender" or e.contender == contender))
    ]


def explain_verdict(
    speed: Optional[SpeedSummary], ratio: Optional[Ratio], asked: bool = False
) -> Tuple[str, str]:
    """(verdict, reason). Without a speed phase, though it was `asked` for, there is no verdict."""
    if speed is not None:
        return speed.judgement.verdict, speed.judgement.reason
    if asked:
        reason = "the speed phase ended before its first whole pair of rounds"
        return INCONCLUSIVE, f"{reason}. Run `bench compare` again for a verdict"
    if ratio is None:
        return INCONCLUSIVE, (
            "no steady blocks of both contenders were measured. Give more `--steps-per-epoch`, or "
            "run without `--no-speed`"
        )
    if not ratio.paired:
        return INCONCLUSIVE, (
            "the two runs did not take turns, so the machine's drift is part of the ratio. "
            "Run `bench compare` without stored runs for a verdict"
        )
    return INCONCLUSIVE, (
        "only one pair of processes was measured, and its interval leaves out the differences "
        "between processes. Run `bench compare` without `--no-speed` for a verdict"
    )


def collect_waves(blocks: Sequence[SpeedBlockEvent], value: Value) -> List[Wave]:
    """Log values in the shape that the judge takes, without pairs of rounds that are incomplete.

    `value` gives a block's positive quantity per step. If it is None for a block, there are no
    waves.
    """
    by_wave: Dict[int, Dict[Tuple[str, int], Dict[int, float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for block in blocks:
        if block.kind == "scored" and block.pair is not None:
            measured = value(block)
            if measured is None or measured <= 0:
                return []
            by_wave[block.wave][block.role, block.replicate][block.pair] = math.log(measured)
    waves = []
    for processes in by_wave.values():
        common = set.intersection(*(set(pairs) for pairs in processes.values()))
        rounds = sorted(number for number in common if number ^ 1 in common)  # of whole ABBA pairs
        rows = [(role, [p[i] for i in rounds]) for (role, _), p in sorted(processes.items())]
        values = [np.array([row for role, row in rows if role == wanted]) for wanted in ROLES]
        if rounds and len({len(each) for each in values}) == 1:
            waves.append(Wave(*values))
    return waves


def judge_blocks(
    blocks: Sequence[SpeedBlockEvent],
    analyses: int,
    margins: Margins,
    alpha: float = DIFFERENCE_ALPHA,
) -> Optional[Judgement]:
    """The verdict on wall time; None before the first pair of rounds is complete.

    `blocks` are those of one contender, of the baseline and of the control.
    """
    waves = collect_waves(blocks, lambda block: block.step_time_s)
    return judge(waves, analyses, margins, alpha) if waves else None


def count_analyses(events: Sequence[Any]) -> int:
    """Interim analyses of new data of the contender, and one more for blocks after the last."""
    analyses, new = 0, False
    for event in events:
        if type(event) is SpeedBlockEvent:
            new |= event.kind == "scored" and event.role == "contender"
        elif type(event) is InterimAnalysisEvent and new:
            analyses, new = analyses + 1, False
    return analyses + new


def summarize_speed(
    events: Sequence[Any], margins: Margins, alpha: float = DIFFERENCE_ALPHA
) -> Optional[SpeedSummary]:
    """All results of the speed phase for one contender; None if no pair of rounds is complete."""
    blocks = [e for e in events if isinstance(e, SpeedBlockEvent)]
    analyses = count_analyses(events)
    judgement = judge_blocks(blocks, analyses, margins, alpha)
    if judgement is None:
        return None
    scored = [block for block in blocks if block.kind == "scored"]
    setups = [e for e in events if isinstance(e, SpeedSetupEvent)]
    if {setup.role for setup in setups} != set(ROLES):
        return None
    ends = [e for e in events if isinstance(e, SpeedEndEvent)]
    summarise = PROCESS_ESTIMATES[judgement.process_estimate]
    conditions = [e for e in events if isinstance(e, ConditionsEvent)]

    def estimate(value: Value, by: ProcessEstimate) -> Optional[Interval]:
        waves = collect_waves(blocks, value)
        return form_interval(estimate_speedup(waves, by), analyses, alpha) if waves else None

    return SpeedSummary(
        judgement=judgement,
        roles={role: _summarize_role(role, blocks, setups, ends) for role in ROLES},
        block_steps=scored[0].steps,
        blocks=len(scored),
        duration_s=max(b.started_s + b.duration_s for b in scored),
        mean=estimate(lambda b: b.step_time_s, mean),
        cpu=estimate(lambda b: b.cpu_s / b.steps, summarise),
        instructions=estimate(
            lambda b: None if b.instructions is None else b.instructions / b.steps, summarise
        ),
        unreadable={k: v for setup in setups for k, v in setup.unreadable.items() if v},
        energy_per_step_j=_energy(scored),
        break_even=_break_even(blocks, setups, summarise),
        warnings=find_warnings(conditions, scored),
        controller_share=measure_controller_share(conditions),
        earlier_replicates=_count_earlier(events),
    )


def _count_earlier(events: Sequence[Any]) -> int:
    starts = [i for i, e in enumerate(events) if type(e) is ConditionsEvent and e.when == "before"]
    earlier = events[: starts[-1]] if starts else []
    return len({e.replicate for e in earlier if type(e) is SpeedBlockEvent and e.kind == "scored"})


def _summarize_role(
    role: str,
    blocks: Sequence[SpeedBlockEvent],
    setups: Sequence[SpeedSetupEvent],
    ends: Sequence[SpeedEndEvent],
) -> RoleSummary:
    mine = [b for b in blocks if b.role == role]
    started = [s for s in setups if s.role == role]
    peaks = [float(e.peak_rss_bytes) for e in ends if e.role == role]
    warmups = [measure_warmup([b for b in mine if b.replicate == s.replicate]) for s in started]
    return RoleSummary(
        contender=started[0].contender,
        processes=len(started),
        step_time_s=summarize([b.step_time_s for b in mine if b.kind == "scored"]),
        warmup_steps=summarize([float(steps) for steps, _ in warmups]).median,
        warmup_s=summarize([seconds for _, seconds in warmups]).median,
        compile_s=summarize([s.compile_train_s + s.compile_eval_s for s in started]),
        loader_step_time_s=summarize([s.loader_step_time_s for s in started]).median,
        peak_rss_bytes=summarize(peaks).median if peaks else None,
    )


def _energy(scored: Sequence[SpeedBlockEvent]) -> Dict[str, float]:
    read = {r: [b for b in scored if b.role == r and b.energy_j is not None] for r in ROLES}
    return {
        role: sum(b.energy_j or 0.0 for b in blocks) / sum(b.steps for b in blocks)
        for role, blocks in read.items()
        if blocks
    }


def _break_even(
    blocks: Sequence[SpeedBlockEvent], setups: Sequence[SpeedSetupEvent], summarise: ProcessEstimate
) -> Optional[BreakEven]:
    compile_s = {(s.role, s.replicate): s.compile_train_s + s.compile_eval_s for s in setups}
    overheads = [
        seconds - compile_s["baseline", replicate]
        for (role, replicate), seconds in compile_s.items()
        if role == "contender" and ("baseline", replicate) in compile_s
    ]
    waves = collect_waves(blocks, lambda block: block.step_time_s)
    if not overheads:
        return None
    estimate = estimate_speedup(waves, summarise)
    step = summarize(
        [b.step_time_s for b in blocks if b.role == "baseline" and b.kind == "scored"]
    ).median
    return estimate_break_even(overheads, step, estimate.log_ratio, estimate.std_error, estimate.df)
