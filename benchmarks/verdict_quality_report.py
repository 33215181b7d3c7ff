"""What the stored comparisons of `verdict_quality.py` say: table, summary and picture.

All verdicts are formed here anew from the stored step times, ours by the judge of the suite and the
others' by `other_rules.py`, on the same samples.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from other_rules import RULES, SLOWER
from pydantic import BaseModel
from scipy.stats import beta
from study import load_rows

from oneflow_bench.record import write_atomically
from oneflow_bench.speed import judge_blocks
from oneflow_bench.speed_events import ROLES, SpeedBlockEvent
from oneflow_bench.verdict.judge import Judgement, Margins

OURS = "oneflow-bench"
CALLED = ("faster", "slower")
KINDS = {"aa": "A/A", "aa-graph": "A/A graph", "3": "+3 %", "5": "+5 %", "10": "+10 %"}
SAME = ("aa", "aa-graph")  # the same program on both sides


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
    controller_cpu_share: float
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
            lead_steps=0,
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
    low = float(beta.ppf(0.025, count, total - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, total - count)) if count < total else 1.0
    return Rate(count=count, total=total, low=low, high=high)


def judge_comparison(comparison: Dict[str, Any]) -> Tuple[Judgement, Dict[str, str]]:
    """Our judgement, and what each of the other rules says of the same step times."""
    blocks = unpack_blocks(comparison["processes"])
    judgement = judge_blocks(blocks, comparison["looks"], Margins())
    assert judgement is not None
    times = {role: [b.step_time_s for b in blocks if b.role == role] for role in ROLES}
    others = {name: rule(times["baseline"], times["contender"]) for name, rule in RULES.items()}
    return judgement, others


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
    covered = sum(
        i.low is not None and i.high is not None and i.low <= math.exp(-truth) <= i.high
        for i in intervals
    )
    walls = [c["wall_s"] for c in comparisons]
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
        controller_cpu_share=sum(c["controller_cpu_s"] for c in comparisons) / sum(walls),
        wrong_direction=0 if kind in SAME else called[OURS].count("faster"),
    )


def summarize_cells(comparisons: Sequence[Dict[str, Any]]) -> List[Cell]:
    """Every condition and kind there is, and both conditions together where there are two."""
    conditions = list(dict.fromkeys(c["condition"] for c in comparisons))
    cells = []
    for kind in KINDS:
        for condition in conditions:
            mine = [c for c in comparisons if (c["condition"], c["kind"]) == (condition, kind)]
            if mine:
                cells.append(summarize_cell(condition, kind, mine))
    return cells


def render_table(cells: Sequence[Cell]) -> str:
    """One Markdown table: a row a rule, a column a cell; then the rows that are ours alone."""
    names = [f"{KINDS[c.kind]}, {c.condition}" for c in cells]
    lines = ["| % called different (A/A) or found slower | " + " | ".join(names) + " |"]
    lines.append("|---|" + "---:|" * len(cells))

    def row(name: str, values: Sequence[str]) -> None:
        lines.append(f"| {name} | " + " | ".join(values) + " |")

    for rule in (OURS, *RULES):
        row(rule, [format_rate(c.rules[rule]) for c in cells])
    row("comparisons", [str(c.coverage.total) for c in cells])
    row("our 95 % interval holds the truth, %", [format_rate(c.coverage) for c in cells])
    row("planted in truth, %", [_format_truth(c) for c in cells])
    row("our verdicts", [", ".join(f"{n} {v}" for v, n in c.verdicts.items()) for c in cells])
    row(
        "seconds to the verdict, median (longest)",
        [f"{c.median_verdict_s:.0f} ({c.worst_verdict_s:.0f})" for c in cells],
    )
    row("controller's CPU, % of the run", [f"{c.controller_cpu_share * 100:.1f}" for c in cells])
    return "\n".join(lines) + "\n"


def format_rate(rate: Rate) -> str:
    return f"{rate.count / rate.total * 100:.1f} ({rate.low * 100:.1f} to {rate.high * 100:.1f})"


def _format_truth(cell: Cell) -> str:
    if cell.kind in SAME:
        return "0"
    error = "" if math.isnan(cell.truth_error) else f" ± {cell.truth_error * 100:.2f}"
    return f"{(cell.truth - 1) * 100:.2f}{error}"


def draw_rates(cells: Sequence[Cell], path: Path) -> None:
    """Bars of the rates of all rules, a panel for each cell."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    conditions = list(dict.fromkeys(cell.condition for cell in cells))
    kinds = list(dict.fromkeys(cell.kind for cell in cells))
    figure, axes = plt.subplots(
        len(conditions),
        len(kinds),
        figsize=(2.4 + 2.2 * len(kinds), 0.8 + 2.6 * len(conditions)),
        sharey=True,
        squeeze=False,
    )
    for cell in cells:
        _draw_cell(cell, axes[conditions.index(cell.condition)][kinds.index(cell.kind)])
    figure.suptitle("comparisons called different, with 95 % intervals", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_cell(cell: Cell, axis: Any) -> None:
    rules = [*RULES][::-1] + [OURS]
    rates = [cell.rules[rule] for rule in rules]
    shares = np.array([rate.count / rate.total for rate in rates]) * 100
    ends = np.array([[rate.low for rate in rates], [rate.high for rate in rates]]) * 100
    errors = np.maximum(np.abs(ends - shares), 0)
    colours = ["#103060" if rule == OURS else "#f0a030" for rule in rules]
    axis.barh(range(len(rules)), shares, color=colours, xerr=errors, ecolor="#777777", capsize=2)
    good = "wrong" if cell.kind in SAME else "right"
    title = f"{KINDS[cell.kind]}, {cell.condition}: {good} if called\n(n = {cell.coverage.total})"
    axis.set_title(title, fontsize=9)
    axis.set_xlim(0, 100)
    axis.set_xlabel("%")
    axis.set_yticks(range(len(rules)), rules)
    axis.grid(axis="x", alpha=0.3)


def write_report(store: Path, out: Path) -> str:
    """Table and picture into `out`; the table is returned. A sentence where nothing is stored."""
    comparisons = load_rows(store)
    if not comparisons:
        return f"nothing is stored in {store} yet; run it without --report first\n"
    cells = summarize_cells(comparisons)
    table = render_table(cells)
    write_atomically(out / "table.md", table)
    summary = {"cells": [cell.model_dump() for cell in cells], "setting": describe(comparisons)}
    write_atomically(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    draw_rates(cells, out / "error-rates.png")
    return table


def describe(comparisons: Sequence[Dict[str, Any]]) -> Dict[str, Optional[Any]]:
    """What was run: models, modes and the machine's load before the comparisons."""
    return {
        "models": sorted({c["model"] for c in comparisons}),
        "modes": sorted({c["mode"] for c in comparisons}),
        "median_load": statistics.median(c["load"] for c in comparisons),
    }
