"""Tables and pictures of `parity_quality.py`, from its stored rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from faults.doors import write_confusion

from oneflow_bench.bench.parity.result import LEVELS
from oneflow_bench.bench.record.run import write_atomically

Row = Dict[str, Any]

_COLOURS = {
    "identical": "#4477aa",
    "equal within rounding": "#ccaa22",
    "different": "#cc3311",
    "inconclusive": "#888888",
}


OLD_FAULTS, OLD_ZOO = "faults-of-0.2.0", "zoo-of-0.2.0"  # before the limits on groups of elements
STUDIES = ("doors", "faults", "zoo", "flowvision", OLD_FAULTS, OLD_ZOO)


def write_report(out: Path, rows: Dict[str, List[Row]]) -> str:
    """Write table.md and the pictures from the rows of STUDIES; returns the table."""
    doors = [row for row in rows["doors"] if "error" not in row]
    text = "\n".join(
        [
            *write_confusion(doors),
            *_clean_lines("The zoo, nothing planted", rows["zoo"]),
            *_clean_lines("flowvision, nothing planted", rows["flowvision"]),
            *_fault_lines("Faults of several sizes", rows["faults"]),
            *_fault_lines("Faults of several sizes, by version 0.2.0", rows[OLD_FAULTS]),
            *_clean_lines("The zoo by version 0.2.0, nothing planted", rows[OLD_ZOO]),
        ]
    )
    write_atomically(out / "table.md", text + "\n")
    faults, zoo = rows[OLD_FAULTS] or rows["faults"], rows[OLD_ZOO] or rows["zoo"]
    if faults and zoo:
        draw_separation(faults, zoo, out / "separation.png")
    if zoo:
        draw_cost(zoo, out / "cost.png")
    return text


def _fault_lines(title: str, rows: Sequence[Row]) -> List[str]:
    if not rows:
        return []
    kinds = list(dict.fromkeys(row.get("kind", row["case"].split("/")[0]) for row in rows))
    lines = [f"## {title}", "", "| fault | planted | found | stage right | tensor right | "
             "missed or misnamed |", "|---|---:|---:|---:|---:|---|"]  # fmt: skip
    for kind in kinds:
        ours = [row for row in rows if row["case"].split("/")[0] == kind]
        wrong = [_describe_wrong(row) for row in ours if not row.get("right_name")]
        lines.append(
            f"| {kind} | {len(ours)} | {_count(ours, 'detected')} | {_count(ours, 'right_level')} "
            f"| {_count(ours, 'right_name')} | {'; '.join(wrong)} |"
        )
    shares = ", ".join(
        f"{_count(rows, key)} of {len(rows)} {what} ({_count(rows, key) / len(rows):.1%})"
        for key, what in (
            ("detected", "found"),
            ("right_level", "at the right stage"),
            ("right_name", "with the right tensor"),
        )
    )
    return [*lines, "", f"{len(kinds)} kinds: {shares}.", ""]


def _count(rows: Sequence[Row], key: str) -> int:
    return sum(bool(row.get(key)) for row in rows)


def _describe_wrong(row: Row) -> str:
    case = "/".join(row["case"].split("/")[1:])
    if "error" in row:
        return f"{case}: the check failed"
    if not row["detected"]:
        return f"{case}: {row['verdict']}"
    return f"{case}: {row['level']}, {row['name']}"


def _clean_lines(title: str, rows: Sequence[Row]) -> List[str]:
    if not rows:
        return []
    checked = [row for row in rows if "error" not in row]
    models = list(dict.fromkeys(row["case"].split("/")[0] for row in rows))
    verdicts: Dict[str, int] = {}
    for row in checked:
        verdicts[row["verdict"]] = verdicts.get(row["verdict"], 0) + 1
    lines = [f"## {title}", "",
             f"{len(models)} models, {len(rows)} checks: "
             + ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
             + (f", {len(rows) - len(checked)} failed" if len(checked) < len(rows) else "")
             + ".", "", "| level | tensors | identical | within rounding | different | known "
             "| largest error ratio | in |", "|---|---:|---:|---:|---:|---:|---:|---|"]  # fmt: skip
    for level in LEVELS:
        found = [(row, row["levels"][level]) for row in checked if level in row["levels"]]
        sums = [
            sum(part[key] for _, part in found)
            for key in ("tensors", "identical", "within_rounding", "different", "known")
        ]
        ratio, where = _largest(found)
        lines.append(
            f"| {level} | {' | '.join(f'{s:,}' for s in sums)} "
            f"| {'-' if ratio is None else f'{ratio:.3g}'} | {where} |"
        )
    lines += ["", "| model | checks | verdicts | first inexact level | seconds a check |",
              "|---|---:|---|---|---:|"]  # fmt: skip
    for model in models:
        ours = [row for row in rows if row["case"].split("/")[0] == model]
        lines.append(_model_line(model, ours))
    return [*lines, ""]


def _largest(found: Sequence[Tuple[Row, Row]]) -> Tuple[Optional[float], str]:
    ratios = [
        (part["largest_error_ratio"], f"{row['model']}, {part['largest_in']}")
        for row, part in found
        if part["largest_error_ratio"] is not None
    ]
    return max(ratios, default=(None, ""))


def _model_line(model: str, rows: Sequence[Row]) -> str:
    verdicts = sorted({row.get("verdict", "failed") for row in rows})
    inexact = sorted(
        {
            next((lv for lv in LEVELS if row["levels"].get(lv, {}).get("within_rounding")), "-")
            for row in rows
            if "levels" in row
        }
    )
    times = sorted(row["duration_s"] for row in rows if "duration_s" in row)
    middle = f"{times[len(times) // 2]:.1f}" if times else "-"
    return f"| {model} | {len(rows)} | {', '.join(verdicts)} | {', '.join(inexact)} | {middle} |"


def draw_separation(faults: Sequence[Row], zoo: Sequence[Row], path: Path) -> None:
    """Error ratios of clean checks beside those of planted faults, on one logarithmic axis."""
    from matplotlib.figure import Figure

    clean = [
        part["largest_error_ratio"]
        for row in zoo
        for part in row.get("levels", {}).values()
        if part["largest_error_ratio"]
    ]
    planted = [row["error_ratio"] for row in faults if row.get("error_ratio")]
    exact = sum(1 for row in faults if row.get("detected") and not row.get("error_ratio"))
    low = math.floor(math.log10(min([*clean, *planted])))
    high = math.ceil(math.log10(max([*clean, *planted])))
    bins = [10 ** (low + step / 4) for step in range(4 * (high - low) + 1)]
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(clean, bins=bins, label=f"nothing planted, worst of a level ({len(clean)})",
              color="#4477aa", alpha=0.8)  # fmt: skip
    axes.hist(planted, bins=bins, label=f"planted faults, first tensor ({len(planted)})",
              color="#cc6677", alpha=0.8)  # fmt: skip
    axes.axvline(1.0, color="black", linewidth=1)
    axes.annotate("different", (1.15, 0.97), xycoords=("data", "axes fraction"), va="top")
    axes.set_xscale("log")
    axes.set_xlabel("error of the graph / rounding limit")
    axes.set_ylabel("count")
    title = f"{exact} more faults were found by bits or by a missing tensor; faults left of 1 by "
    figure.suptitle(title + "running the layer in isolation", fontsize=9)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=120)


def draw_cost(zoo: Sequence[Row], path: Path) -> None:
    """Seconds of a check over the number of modules and over that of parameters."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(10, 4), layout="constrained")
    rows = [row for row in zoo if "duration_s" in row]
    panels = (
        ("modules", "module outputs compared (grows with depth)"),
        ("num_params", "parameters at the default number of classes"),
    )
    for axes, (key, label) in zip(figure.subplots(1, 2, sharey=True), panels):
        for verdict, colour in _COLOURS.items():
            ours = [row for row in rows if row["verdict"] == verdict]
            if ours:
                axes.scatter(
                    [row[key] for row in ours],
                    [row["duration_s"] for row in ours],
                    s=14,
                    color=colour,
                    label=f"{verdict} ({len(ours)})",
                )
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            axis.set_major_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(9, 9)))
            axis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(label)
    figure.axes[0].set_ylabel("seconds a check")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=120)
