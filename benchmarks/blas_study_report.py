"""The tables of the study of all cores: step times, the distance to PyTorch, losses."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from study import Row

from oneflow_bench.bench.tools.tune.parity import measure_loss_difference
from oneflow_bench.bench.verdict.statistics import Summary, summarize

STOCK, TUNED = "stock", "tuned"
TORCH_THREADS = (1, 2)
QUANTITIES = {
    "step_time_s": "Step time",
    "busiest_thread_s": "Processor time a step of the busiest thread",
}


def find_ratio(row: Row, base: str, name: str, quantity: str = "step_time_s") -> Optional[Summary]:
    """The time of `base` over that of another way; None if one of them was not measured.

    It is the median over the rounds of turns, so that a round in which another program ran moves it
    little.
    """
    sides = [row[quantity].get(one) or [None] for one in (base, name)]
    if any(one is None for side in sides for one in side):
        return None
    return summarize([left / right for left, right in zip(*sides)])


def measure_scatter(row: Row) -> float:
    """The interquartile range of a way's log step times, as the mean over all ways."""
    quartiles = (np.percentile(np.log(times), [25, 75]) for times in row["step_time_s"].values())
    return float(np.mean([upper - lower for lower, upper in quartiles]))


def select_quickest(rows: Sequence[Row]) -> List[Row]:
    """Of the rows of one model and mode that with the shortest steps, by their geometric mean.

    Other programs only add time.
    """

    def measure_length(row: Row) -> float:
        return float(np.mean([np.log(np.median(t)) for t in row["step_time_s"].values()]))

    measured: Dict[Tuple[str, str], List[Row]] = {}
    for row in rows:
        measured.setdefault((row["model"], row["mode"]), []).append(row)
    return [min(same, key=measure_length) for same in measured.values()]


def render(rows: Sequence[Row], perturbed: Sequence[Row]) -> str:
    """Step times and ratios to tuned, the distance to PyTorch, and the losses."""
    rows = select_quickest(rows)
    names = list(dict.fromkeys(name for row in rows for name in row["step_time_s"]))
    others = [name for name in names if name != TUNED]
    lines = [
        "*Scatter* is the interquartile range of the step times, as a mean over all ways. A row "
        "that was measured several times stands here once, with the shortest times over all ways.",
        "",
    ]
    for quantity, meaning in QUANTITIES.items():
        lines += [
            f"{meaning} of *tuned*, the default runtime, and its ratio to that of each other way:",
            "",
            f"| model, batch, pixels | mode | scatter | tuned, ms | {' | '.join(others)} |",
            f"|---|---|---:|---:|{'---:|' * len(others)}",
        ]
        for row in rows:
            shown = [format_ratio(find_ratio(row, TUNED, name, quantity)) for name in others]
            own_ms = 1e3 * summarize(row[quantity][TUNED]).median
            about = f"{row['mode']} | {100 * measure_scatter(row):.0f} % | {own_ms:.0f}"
            lines.append(f"| {_label(row)} | {about} | {' | '.join(shown)} |")
        lines.append("")
    return "\n".join([*lines, *_list_distances(rows), *_list_losses(rows, perturbed)]) + "\n"


def _list_distances(rows: Sequence[Row]) -> List[str]:
    """The fastest way of OneFlow beside PyTorch on as many cores."""
    lines = [
        f"The fastest way of OneFlow over PyTorch with {TORCH_THREADS[-1]} threads:",
        "",
        "| model | mode | fastest | its time over PyTorch's |",
        "|---|---|---|---:|",
    ]
    torch = f"torch-{TORCH_THREADS[-1]}"
    known = [row for row in rows if torch in row["step_time_s"]]
    for row in known:
        times = {k: summarize(t).median for k, t in row["step_time_s"].items() if "torch" not in k}
        best = min(times, key=times.__getitem__)
        ratio = format_ratio(find_ratio(row, best, torch))
        lines.append(f"| {row['model']} | {row['mode']} | {best} | {ratio} |")
    return [*lines, ""] if known else []


def _list_losses(rows: Sequence[Row], perturbed: Sequence[Row]) -> List[str]:
    moved = {
        row["model"]: max(
            measure_loss_difference(row["stock"], one) or 0.0 for one in row["witnesses"]
        )
        for row in perturbed
    }
    names = [name for name, about in rows[0]["ways"].items() if "losses" in about]
    others = [name for name in names if name != STOCK]
    lines = [
        "Largest relative difference to the losses of stock. *By a rounding* is that of stock from "
        "weights moved by one rounding, over 50 steps:",
        "",
        f"| model | mode | steps | {' | '.join(others)} | by a rounding |",
        f"|---|---|---:|{'---:|' * (len(others) + 1)}",
    ]
    for row in rows:
        ours = row["ways"][STOCK]["losses"]
        found = [row["ways"].get(name, {}).get("losses") for name in others]
        apart = [None if one is None else measure_loss_difference(ours, one) for one in found]
        shown = ["-" if one is None else f"{one:.1e}" for one in [*apart, moved.get(row["model"])]]
        lines.append(f"| {row['model']} | {row['mode']} | {len(ours)} | {' | '.join(shown)} |")
    return lines


def _label(row: Row) -> str:
    return f"{row['model']}, {row['batch_size']}, {row['image_size']}"


def format_ratio(ratio: Optional[Summary]) -> str:
    if ratio is None:
        return "-"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.median:.2f} (no interval)"
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
