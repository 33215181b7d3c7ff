"""The speed phase in rows and sentences, for the terminal and for Markdown alike."""

from __future__ import annotations

from typing import List, Optional, Tuple

from ..verdict.judge import Interval
from ..verdict.statistics import CONFIDENCE
from ..verdict.summary import SpeedSummary

MISSING = "-"


def format_interval(interval: Optional[Interval]) -> str:
    """The ratio with its 95 % interval."""
    if interval is None:
        return MISSING
    return format_ratio(interval.ratio, interval.low, interval.high)


def format_ratio(ratio: float, low: Optional[float], high: Optional[float]) -> str:
    if low is None or high is None:
        return f"{ratio:.3f}"
    return f"{ratio:.3f} ({CONFIDENCE * 100:.0f} % {low:.3f} to {high:.3f})"


def format_short_ratio(ratio: float, low: Optional[float], high: Optional[float]) -> str:
    """A ratio with its interval for a table, as in 1.052 (0.981-1.104)."""
    if low is None or high is None:
        return f"{ratio:.3f} (no interval)"
    return f"{ratio:.3f} ({low:.3f}-{high:.3f})"


def speed_rows(speed: SpeedSummary) -> List[Tuple[str, str]]:
    """(what, value with unit) between the two contenders."""
    judgement = speed.judgement
    baseline, contender = speed.roles["baseline"], speed.roles["contender"]
    name = baseline.contender
    rows = [
        (f"control, {name} against {name}", format_interval(judgement.control)),
        ("sequential interval (99 %)", _strict(judgement.speedup)),
        ("replicates, analyses", f"{judgement.replicates}, {judgement.analyses}"),
        ("blocks, steps of each", f"{speed.blocks}, {speed.block_steps}"),
        ("measured for, s", f"{speed.duration_s:.0f}"),
        ("spread of equal processes", _percent(judgement.process_spread)),
        ("a process is summarised by", f"{judgement.process_estimate} of its blocks"),
        ("speedup, mean of all blocks", format_interval(speed.mean)),
        ("speedup, processor time", format_interval(speed.cpu)),
    ]
    if speed.instructions is not None:
        rows.append(("ratio of instructions", format_interval(speed.instructions)))
    for role in (baseline, contender):
        rows.append(
            (
                f"warm-up steps of {role.contender}",
                f"{role.warmup_steps:.0f} ({role.warmup_s:.2f} s)",
            )
        )
    rows.append(("loader alone, ms a step", f"{baseline.loader_step_time_s * 1e3:.2f}"))
    if speed.controller_share is not None:
        share = _percent(speed.controller_share)
        rows.append(("controller's processor time", f"{share} of the phase"))
    for role_name in ("baseline", "contender"):
        if role_name in speed.energy_per_step_j:
            who = speed.roles[role_name].contender
            rows.append((f"energy of {who}, J a step", f"{speed.energy_per_step_j[role_name]:.3g}"))
    return rows


def speed_notes(speed: SpeedSummary) -> List[str]:
    """What disturbed the measuring and what could not be read, a sentence each."""
    notes = [f"Warning: {warning}." for warning in speed.warnings]
    missing = {"instructions": "Instructions", "energy_j": "Energy"}
    return notes + [
        f"{missing[name]} not measured: {reason}."
        for name, reason in speed.unreadable.items()
        if name in missing
    ]


def _strict(interval: Interval) -> str:
    if interval.sequential_low is None or interval.sequential_high is None:
        return MISSING
    return f"{interval.sequential_low:.3f} to {interval.sequential_high:.3f}"


def _percent(share: Optional[float]) -> str:
    return MISSING if share is None else f"{share * 100:.2f} %"
