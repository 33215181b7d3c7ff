"""The tables of the runtime study: gains, which setting gave what, losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from study import load_rows

from oneflow_bench.bench.tools.tune.candidates import STOCK_NAME
from oneflow_bench.bench.tools.tune.parity import measure_loss_difference
from oneflow_bench.bench.tools.tune.report import (
    CONFIRMATION,
    ModeResult,
    TuneDocument,
    format_interval,
)

SEARCHES, LOSSES, PERTURBED = "searches.jsonl", "losses.jsonl", "witnesses.jsonl"


def load_searches(out: Path) -> Dict[str, TuneDocument]:
    """Stored searches by model."""
    return {
        line["model"]: TuneDocument.model_validate(line["document"])
        for line in load_rows(out / SEARCHES)
    }


def render_report(out: Path) -> str:
    """Tables of what is stored: gains, which setting gave what, losses."""
    searches, losses = load_searches(out), load_rows(out / LOSSES)
    if not searches:
        return f"nothing is stored in {out} yet; run the study without 'report' first\n"
    lines = [
        "| model | mode | step time, stock / searched (95 %) | verdict | settings |",
        "|---|---|---:|---|---|",
    ]
    for model, document in searches.items():
        lines += [_gain_row(model, mode) for mode in document.modes]
    lines += [
        "",
        "The gain of each setting, alone and joined to others (ratios to stock; in the last column "
        "of the combination with it to the same without it):",
        "",
        "| model | mode | setting | alone | verdict | joined |",
        "|---|---|---|---:|---|---:|",
    ]
    for model, document in searches.items():
        for mode in document.modes:
            lines += _setting_rows(model, mode)
    lines += [
        "",
        "Losses of stock and of what was chosen, largest relative difference; and of stock's own "
        "eager losses where every weight was moved by one rounding before the first step:",
        "",
        "| model | mode | steps | stock and searched | stock, moved by a rounding | same weights |",
        "|---|---|---:|---:|---:|---|",
    ]
    perturbed = {line["model"]: line for line in load_rows(out / PERTURBED)}
    lines += [_loss_row(line, perturbed.get(line["model"])) for line in losses]
    return "\n".join(lines) + "\n"


def _gain_row(model: str, mode: ModeResult) -> str:
    found = mode.confirmed
    if found is None:
        return f"| {model} | {mode.mode} | 1 | stock stays | {mode.reason} |"
    interval = format_interval(found.speedup)
    return f"| {model} | {mode.mode} | {interval} | {found.verdict} | {found.name} |"


def _setting_rows(model: str, mode: ModeResult) -> List[str]:
    timed = [c for c in mode.candidates if c.speedup is not None and c.phase != CONFIRMATION]
    joined = {}
    for candidate in timed:
        if candidate.left_out and candidate.speedup:  # of a search by racing
            joined[candidate.left_out] = f"{1 / candidate.speedup.ratio:.3f}"
        elif candidate.base not in (None, STOCK_NAME):
            joined[candidate.name] = format_interval(candidate.speedup)
    alone = {c.name: c for c in timed if c.phase == "alone"}
    alone.update({c.name: c for c in timed if c.base == STOCK_NAME})  # with an interval
    return [
        f"| {model} | {mode.mode} | {name} | {format_interval(c.speedup)} | {c.verdict} "
        f"| {joined.get(name, '-')} |"
        for name, c in alone.items()
    ]


def _loss_row(line: Dict[str, Any], perturbed: Optional[Dict[str, Any]]) -> str:
    shown = _format_difference([measure_loss_difference(line["stock"], line["tuned"])])
    moved = "-"
    if perturbed is not None:
        rows = perturbed["witnesses"]
        moved = _format_difference(
            [measure_loss_difference(perturbed["stock"], row) for row in rows]
        )
    same = "bitwise" if line["same_weights"] else "no"
    return f"| {line['model']} | {line['mode']} | {line['steps']} | {shown} | {moved} | {same} |"


def _format_difference(differences: Sequence[Optional[float]]) -> str:
    finite = [difference for difference in differences if difference is not None]
    return f"{max(finite):.1e}" if len(finite) == len(differences) else "not finite"
