"""Tables and picture of `distributed.py`, from its stored rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

ROWS, ALL_REDUCE = "rows.jsonl", "all-reduce.json"
Row = Dict[str, Any]
Predicted = Mapping[str, Optional[float]]  # by MODEL/MODE, seconds
NONE = "-"
SPEED_TITLES = {
    "speed": "Speed of 2 data parallel ranks over one process of the same mode, same global batch:",
    "weak": "The same with the whole batch on each rank (weak scaling), images a second:",
}
UNAVAILABLE, FAILED = "not available", "failed"


def load_rows(out: Path) -> Dict[str, Row]:
    """By case, in the order in which they were run."""
    path = out / ROWS
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {line.pop("case"): line for line in lines}


def list_tables(rows: Mapping[str, Row], predicted: Predicted) -> str:
    """Markdown; a table for each part that has rows."""
    parity = [_parity_row(name, row) for name, row in rows.items() if name.startswith("parity/")]
    lines: List[str] = []
    if parity:
        lines += [
            "Losses of 2 ranks, largest relative error over the first steps:",
            "",
            "| model | strategy | steps | against float64 | one process, float32 | parity |",
            "|---|---|---:|---:|---:|---|",
            *parity,
            "",
        ]
    for part, title in SPEED_TITLES.items():
        speed = [
            _speed_row(name, row, predicted if part == "speed" else {})
            for name, row in rows.items()
            if name.startswith(f"{part}/")
        ]
        if speed:
            lines += [
                title,
                "",
                "| model | mode | one process, ms | 2 ranks, ms | predicted, ms | speedup (95 %) "
                "| efficiency | slowest/fastest | verdict |",
                "|---|---|---:|---:|---:|---:|---:|---:|---|",
                *speed,
                "",
            ]
    for title in (UNAVAILABLE, FAILED):
        named = [
            f"- {name}: {row['error']}"
            for name, row in rows.items()
            if "error" in row and _outcome(row) == title
        ]
        lines += [f"{title.capitalize()}:", "", *named, ""] if named else []
    return "\n".join(lines)


def _outcome(row: Row) -> str:
    """Whether a case that has no numbers could not be had or went wrong."""
    return UNAVAILABLE if f"{UNAVAILABLE}: " in row["error"] else FAILED


def _parity_row(name: str, row: Row) -> str:
    _, model, strategy = name.split("/")
    if "error" in row:
        return f"| {model} | {strategy} | {NONE} | {NONE} | {NONE} | {_outcome(row)} |"
    errors, expected = row["ranks"]["errors"], row["ranks"]["expected"]
    parity = f"{row['parity']} (expected: {expected['id']})" if expected else row["parity"]
    if errors is None:
        return f"| {model} | {strategy} | {NONE} | {NONE} | {NONE} | {parity} |"
    return (
        f"| {model} | {strategy} | {errors['steps']} | {errors['contender']:.1e} "
        f"| {errors['baseline']:.1e} | {parity} |"
    )


def _speed_row(name: str, row: Row, predicted: Predicted) -> str:
    _, model, mode = name.split("/")
    if "error" in row:
        return f"| {model} | {mode} | {' | '.join([NONE] * 6)} | {_outcome(row)} |"
    ranks = row["ranks"]
    spread = ranks["spread"]
    cells = [
        _ms(ranks["baseline_step_time_s"]),
        _ms(ranks["step_time_s"]),
        _ms(predicted.get(f"{model}/{mode}")),
        _interval(ranks["speedup"]),
        _interval(ranks["efficiency"]),
        NONE if spread is None else f"{spread['median']:.3f}",
        row["verdict"] or NONE,
    ]
    return f"| {model} | {mode} | {' | '.join(cells)} |"


def _ms(seconds: Optional[float]) -> str:
    return NONE if seconds is None else f"{seconds * 1e3:.1f}"


def _interval(ratio: Optional[Mapping[str, Any]]) -> str:
    if ratio is None:
        return NONE
    if ratio["low"] is None:
        return f"{ratio['ratio']:.2f}"
    return f"{ratio['ratio']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def render_picture(rows: Mapping[str, Row], predicted: Predicted, folder: Path) -> List[Path]:
    """The speedup of each model and mode with its interval, and what was predicted."""
    from oneflow_bench.bench.report.pictures import PICTURE_STYLE, plt, save_picture

    measured = {
        name.partition("/")[2]: row["ranks"]
        for name, row in rows.items()
        if name.startswith("speed/") and "error" not in row and row["ranks"]["speedup"]
    }
    if not measured:
        return []
    with plt.rc_context(PICTURE_STYLE):
        figure, axes = plt.subplots(figsize=(8, 1.5 + 0.4 * len(measured)), layout="constrained")
        for place, (name, ranks) in enumerate(reversed(list(measured.items()))):
            _draw_speedup(axes, place, ranks["speedup"])
            foretold = predicted.get(name)
            if foretold and ranks["baseline_step_time_s"]:
                speedup = ranks["baseline_step_time_s"] / foretold
                axes.plot(speedup, place, "x", color="#a02060", markersize=9, zorder=3)
        axes.plot([], [], "o", color="#103060", label="measured, 95 % interval")
        axes.plot([], [], "x", color="#a02060", label="predicted by bench scaling")
        axes.axvline(1, color="#707070", linewidth=1)
        axes.set_yticks(range(len(measured)), [name.replace("/", ", ") for name in measured][::-1])
        axes.set_ylim(-0.6, len(measured) - 0.4)
        axes.set_xlabel("speedup of 2 ranks over one process, same global batch")
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
        return save_picture(figure, folder, "speedup")


def _draw_speedup(axes: Any, place: int, ratio: Mapping[str, Any]) -> None:
    if ratio["low"] is not None:
        axes.plot([ratio["low"], ratio["high"]], [place, place], color="#103060", linewidth=2)
    axes.plot(ratio["ratio"], place, "o", color="#103060")
