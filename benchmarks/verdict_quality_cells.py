"""What the stored comparisons of `verdict_quality.py` come to: a cell for each kind and condition.

All verdicts are formed here anew from the stored step times, ours by the judge of the suite and the
others' by `other_rules.py`, on the same samples.
"""

from __future__ import annotations

import math
import statistics
from typing import Any, Dict, List, Sequence, Tuple

from other_rules import RULES, SLOWER
from pydantic import BaseModel
from scipy.stats import beta

from oneflow_bench.bench.record.events import ROLES, SpeedBlockEvent
from oneflow_bench.bench.verdict.judge import Judgement, Margins
from oneflow_bench.bench.verdict.summary import judge_blocks

OURS = "oneflow-bench"
CONDITIONS = ("quiet", "hog")
CALLED = ("faster", "slower")
KINDS = {
    "aa": "the same, eager",
    "aa-graph": "the same, graph",
    "3": "+3 %",
    "5": "+5 %",
    "10": "+10 %",
}
SAME = ("aa", "aa-graph")  # the same program on both sides
PLANTED = [kind for kind in KINDS if kind not in SAME]


class Rate(BaseModel):
    """A share with its exact 95 % interval (Clopper and Pearson, Biometrika 26, 1934)."""

    count: int
    total: int
    low: float
    high: float


class Cell(BaseModel):
    """All comparisons of one kind under one condition."""

    condition: str
    kind: str
    rules: Dict[str, Rate]  # called different (aa), or found slower (planted)
    verdicts: Dict[str, int]  # ours
    coverage: Rate  # of our 95 % interval: 1, or the planted ratio
    truth: float  # planted time over plain time
    truth_error: float  # its standard error
    median_verdict_s: float  # from the first start of a process to the last look
    worst_verdict_s: float
    wrong_direction: int  # ours, planted kinds


def pack_blocks(blocks: Sequence[SpeedBlockEvent]) -> List[Dict[str, Any]]:
    """Scored blocks, one entry a process: turns in the order of all, step times in microseconds."""
    packed: Dict[Tuple[str, int], Dict[str, Any]] = {}
    for block in blocks:
        if block.kind == "scored":
            entry = packed.setdefault(
                (block.role, block.replicate),
                {
                    "role": block.role,
                    "replicate": block.replicate,
                    "wave": block.wave,
                    "steps": block.steps,
                    "turn": [],
                    "step_time_us": [],
                    "cpu_us": [],
                },
            )
            entry["turn"].append(block.turn)
            entry["step_time_us"].append(round(block.step_time_s * 1e6, 1))
            entry["cpu_us"].append(round(block.cpu_s / block.steps * 1e6))
    return list(packed.values())


def unpack_blocks(processes: Sequence[Dict[str, Any]]) -> List[SpeedBlockEvent]:
    """The scored blocks again, in the order they were measured."""
    blocks = [
        SpeedBlockEvent(
            contender="planted" if entry["role"] == "contender" else "plain",
            role=entry["role"],
            replicate=entry["replicate"],
            wave=entry["wave"],
            kind="scored",
            pair=pair,
            turn=turn,
            steps=entry["steps"],
            untimed_steps=0,
            started_s=0.0,
            duration_s=micros * 1e-6 * entry["steps"],
            cpu_s=cpu * 1e-6 * entry["steps"],
        )
        for entry in processes
        for pair, (turn, micros, cpu) in enumerate(
            zip(entry["turn"], entry["step_time_us"], entry["cpu_us"])
        )
    ]
    return sorted(blocks, key=lambda block: block.turn)


def form_rate(count: int, total: int) -> Rate:
    """`count` of `total`, one at least."""
    low = float(beta.ppf(0.025, count, total - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, total - count)) if count < total else 1.0
    return Rate(count=count, total=total, low=low, high=high)


def judge_ours(comparison: Dict[str, Any]) -> Judgement:
    """Our judgement of its step times."""
    return _judge(unpack_blocks(comparison["processes"]), comparison["looks"])


def _judge(blocks: Sequence[SpeedBlockEvent], looks: int) -> Judgement:
    judgement = judge_blocks(blocks, looks, Margins())
    assert judgement is not None
    return judgement


def judge_comparison(comparison: Dict[str, Any]) -> Tuple[Judgement, Dict[str, str]]:
    """Our judgement, and what each of the other rules says of the same step times."""
    blocks = unpack_blocks(comparison["processes"])
    times = {role: [b.step_time_s for b in blocks if b.role == role] for role in ROLES}
    others = {name: rule(times["baseline"], times["contender"]) for name, rule in RULES.items()}
    return _judge(blocks, comparison["looks"]), others


def measure_truth(comparisons: Sequence[Dict[str, Any]]) -> Tuple[float, float]:
    """(log ratio of planted to plain time, its standard error), over all planted processes.

    Each process measured itself with and without its extra work; each is one observation.
    """
    logs = [log_ratio for c in comparisons for log_ratio in c["truth"]]
    if not logs:
        return 0.0, 0.0
    error = statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.nan
    return statistics.fmean(logs), error


def summarize_cell(condition: str, kind: str, comparisons: Sequence[Dict[str, Any]]) -> Cell:
    """Error rates of all rules on the comparisons of one kind under one condition."""
    truth, error = measure_truth(comparisons)
    judged = [judge_comparison(c) for c in comparisons]
    called: Dict[str, List[str]] = {OURS: [judgement.verdict for judgement, _ in judged]}
    for name in RULES:
        called[name] = [others[name] for _, others in judged]
    wanted = CALLED if kind in SAME else (SLOWER,)
    total = len(judged)
    intervals = [j.speedup for j, _ in judged]
    covered = sum(interval.holds(math.exp(-truth)) for interval in intervals)
    return Cell(
        condition=condition,
        kind=kind,
        rules={n: form_rate(sum(v in wanted for v in c), total) for n, c in called.items()},
        verdicts={v: called[OURS].count(v) for v in sorted(set(called[OURS]))},
        coverage=form_rate(covered, total),
        truth=math.exp(truth),
        truth_error=error,
        median_verdict_s=statistics.median(c["verdict_s"] for c in comparisons),
        worst_verdict_s=max(c["verdict_s"] for c in comparisons),
        wrong_direction=0 if kind in SAME else called[OURS].count("faster"),
    )


def summarize_cells(comparisons: Sequence[Dict[str, Any]]) -> List[Cell]:
    """Every condition and kind there is."""
    return [
        summarize_cell(condition, kind, mine)
        for (kind, condition), mine in group_cells(comparisons).items()
    ]


def group_cells(
    comparisons: Sequence[Dict[str, Any]],
) -> Dict[Tuple[str, str], List[Dict[str, Any]]]:
    """(kind, condition) -> its comparisons, in the order of the plan."""
    cells: Dict[Tuple[str, str], List[Dict[str, Any]]] = {
        (kind, condition): [] for kind in KINDS for condition in CONDITIONS
    }
    for comparison in comparisons:
        cells[comparison["kind"], comparison["condition"]].append(comparison)
    return {cell: mine for cell, mine in cells.items() if mine}
