"""The stored comparisons of `verdict_quality.py` as tables, summary and picture."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from other_rules import RULES, SLOWER
from study import load_rows
from variance_components import collect_sample, predict_oracle_s, split_variance
from verdict_quality_cells import (
    KINDS,
    OURS,
    PLANTED,
    SAME,
    Cell,
    Rate,
    form_rate,
    group_cells,
    judge_ours,
    summarize_cells,
)

from oneflow_bench.bench.record.run import write_atomically
from oneflow_bench.bench.verdict.estimate import PROCESS_ESTIMATES
from oneflow_bench.bench.verdict.judge import INCONCLUSIVE

# what was aimed at: kind -> share found, at least
POWER = {"3": 0.8, "5": 0.9, "10": 0.99}


def render_rules(cells: Sequence[Cell]) -> str:
    """Rates of all rules in whole percent: a row a rule, a column a kind and condition."""
    columns: Dict[str, List[Cell]] = {}
    for cell in cells:
        kind = "the same" if cell.kind in SAME else KINDS[cell.kind]
        columns.setdefault(f"{kind}, {cell.condition}", []).append(cell)
    lines = [
        _row(["% called different (the same), or found slower", *columns]),
        "|---|" + "---:|" * len(columns),
    ]
    for rule in (OURS, *RULES):
        rates = [_pool([cell.rules[rule] for cell in mine]) for mine in columns.values()]
        told = [format_rate(rate, 0) for rate in rates]
        if rule == OURS:
            told = ["**{}** {}".format(*each.split(" ", 1)) for each in told]
        lines.append(_row([f"**{rule}**" if rule == OURS else rule, *told]))
    return "\n".join(lines) + "\n"


def render_cells(cells: Sequence[Cell]) -> str:
    """Our verdicts of each kind under each condition, in Markdown."""
    lines = [
        "| | comparisons | planted in truth, % | called different, or found, % "
        "| interval holds the truth, % | median (longest), s | verdicts |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for cell in cells:
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in cell.verdicts.items())
        row = [
            f"{KINDS[cell.kind]}, {cell.condition}",
            str(cell.coverage.total),
            _format_truth(cell),
            format_rate(cell.rules[OURS]),
            format_rate(cell.coverage),
            f"{cell.median_verdict_s:.0f} ({cell.worst_verdict_s:.0f})",
            verdicts,
        ]
        lines.append(_row(row))
    return "\n".join(lines) + "\n"


def render_totals(cells: Sequence[Cell], comparisons: Sequence[Dict[str, Any]]) -> str:
    """Our verdicts over all conditions beside what was aimed at, in Markdown."""
    lines = ["| over all conditions | measured | aimed at |", "|---|---:|---:|"]
    same = [cell for cell in cells if cell.kind in SAME]
    planted = [cell for cell in cells if cell.kind not in SAME]
    if same:
        called = _pool([cell.rules[OURS] for cell in same])
        lines.append(f"| the same program called different, % | {_count(called)} | at most 1 |")
    for kind in PLANTED:
        mine = [cell for cell in planted if cell.kind == kind]
        if mine:
            found = _count(_pool([cell.rules[OURS] for cell in mine]))
            seconds = [c["verdict_s"] for c in comparisons if c["kind"] == kind]
            within = "30 at the median, " if kind == "10" else ""
            lines += [
                f"| {KINDS[kind]} found, % | {found} | at least {POWER[kind] * 100:g} |",
                f"| {KINDS[kind]}, s to the verdict, median (longest) "
                f"| {statistics.median(seconds):.0f} ({max(seconds):.0f}) | {within}120 |",
            ]
    for name, mine in (("the same", same), ("planted work", planted)):
        if mine:
            held = _count(_pool([cell.coverage for cell in mine]))
            lines.append(f"| 95 % interval holds the truth, {name}, % | {held} | 93 to 97 |")
    wrong = sum(cell.wrong_direction for cell in planted)
    lines.append(f"| planted work called faster | {wrong} | 0 |")
    return "\n".join(lines) + "\n"


def _row(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _pool(rates: Sequence[Rate]) -> Rate:
    return form_rate(sum(rate.count for rate in rates), sum(rate.total for rate in rates))


def _count(rate: Rate) -> str:
    return f"{format_rate(rate)}: {rate.count} of {rate.total}"


def render_course(comparisons: Sequence[Dict[str, Any]], parts: int = 4) -> str:
    """How the machine was in the course of the study, and what was found meanwhile, in Markdown."""
    ordered = sorted(comparisons, key=lambda c: str(c["created"]))
    found = " | ".join(f"{KINDS[kind]} found" for kind in PLANTED)
    lines = [
        "| measured | comparisons | median step, ms | spread of equal processes, % "
        f"| controller's CPU, % | {found} |",
        "|---|---:|---:|---:|---:|" + "---:|" * len(PLANTED),
    ]
    for numbers in np.array_split(np.arange(len(ordered)), min(parts, len(ordered))):
        mine = [ordered[number] for number in numbers]
        judged = [(c["kind"], judge_ours(c)) for c in mine]
        steps = [
            float(np.median(np.concatenate([p["step_time_us"] for p in c["processes"]])))
            for c in mine
        ]
        spreads = [j.process_spread for _, j in judged if j.process_spread is not None]
        cpu_share = sum(c["controller_cpu_s"] for c in mine) / sum(c["wall_s"] for c in mine)
        of_kinds = [[j.verdict == SLOWER for k, j in judged if k == kind] for kind in PLANTED]
        row = [
            str(mine[0]["created"])[:16].replace("T", " ") + " on",
            str(len(mine)),
            f"{statistics.median(steps) / 1e3:.1f}",
            f"{statistics.median(spreads) * 100:.2f}" if spreads else "-",
            f"{cpu_share * 100:.2f}",
            *(f"{sum(each)} of {len(each)}" for each in of_kinds),
        ]
        lines.append(_row(row))
    return "\n".join(lines) + "\n"


def render_bound(comparisons: Sequence[Dict[str, Any]]) -> str:
    """The time of the suite over that of an oracle with known variances, in Markdown."""
    lines = [
        "| | between processes, % | within one, % | an oracle would need, s "
        "| 9 of 10 have their verdict after, s | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for (kind, condition), rows in group_cells(comparisons).items():
        sample = collect_sample(rows)
        rounds = sample.usual_rounds
        waves = sample.keep(rounds).cut(rounds)
        parts = min((split_variance(waves, e) for e in PROCESS_ESTIMATES.values()), key=sum)
        oracle_s = predict_oracle_s(sample, 0.0 if kind in SAME else int(kind) / 100)
        verdicts = [judge_ours(row).verdict for row in rows]
        needed_s = sorted(
            math.inf if verdict == INCONCLUSIVE else row["verdict_s"]
            for verdict, row in zip(verdicts, rows)
        )[math.ceil(0.9 * len(rows)) - 1]
        # those without a verdict had so many seconds at least
        at_least_s = needed_s if needed_s < math.inf else max(row["verdict_s"] for row in rows)
        more = "" if needed_s < math.inf else "more than "
        row = [
            f"{KINDS[kind]}, {condition}",
            *(f"{100 * math.sqrt(part):.2f}" for part in parts),
            f"{oracle_s:.0f}",
            f"{more}{at_least_s:.0f}",
            f"{more}{at_least_s / oracle_s:.1f}",
        ]
        lines.append(_row(row))
    return "\n".join(lines) + "\n"


def describe_calibration(stored: Path, effects: Sequence[str]) -> str:
    """A sentence on how much longer a step is than the planted work's own time; may be empty."""
    if not stored.exists():
        return ""
    points = json.loads(stored.read_text(encoding="utf-8"))["points"]
    found = []
    for index, effect in enumerate(effects):
        longer = statistics.fmean(point[1] for point in points[index :: len(effects)])
        found.append(f"{effect} % of a step make it {longer * 100:.1f} % longer")
    return f"Before the work was chosen: products that take {', '.join(found)}.\n"


def format_rate(rate: Rate, digits: int = 1) -> str:
    """In percent, with its interval."""
    share, low, high = (
        f"{value * 100:.{digits}f}" for value in (rate.count / rate.total, rate.low, rate.high)
    )
    return f"{share} ({low} to {high})"


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
    figure.suptitle("Comparisons called different, with 95 % intervals", fontsize=10)
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
    title = f"{KINDS[cell.kind]}, {cell.condition}\n{good} if called (n = {cell.coverage.total})"
    axis.set_title(title, fontsize=9)
    axis.set_xlim(0, 100)
    axis.set_xlabel("%")
    axis.set_yticks(range(len(rules)), rules)
    axis.grid(axis="x", alpha=0.3)


def write_report(store: Path, out: Path) -> str:
    """Tables and picture into `out`; returns the tables, a sentence where nothing is stored."""
    comparisons = load_rows(store)
    if not comparisons:
        return f"nothing is stored in {store} yet; run it without --report first\n"
    cells = summarize_cells(comparisons)
    calibration = describe_calibration(out / "calibration.json", PLANTED)
    course = render_course(comparisons)
    rules, totals = render_rules(cells), render_totals(cells, comparisons)
    bound = render_bound(comparisons)
    parts = [rules, totals, render_cells(cells), course, bound, calibration]
    table = "\n".join(part for part in parts if part)
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
