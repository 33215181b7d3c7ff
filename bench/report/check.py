"""The report of a parity check as blocks. Pure.

Units change here and nowhere else: bytes to MiB, shares to percent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from ..errors import worst_status
from ..parity.baseline import Baseline
from ..parity.gate import Finding, Judged, Value, compare_with_baseline
from ..parity.result import CheckDocument, KnownHit, LevelResult, ModelCheck, TensorDifference
from .blocks import Block, Heading, Table, Text
from .format import format_sentence

MISSING = "-"
_DIGEST_CHARACTERS = 12
_MEANING = {
    0: "the modes agree",
    1: "the modes differ, or a metric is worse than its baseline",
    3: "inconclusive",
    4: "a worker failed",
}
# metric -> factor, and how the product is written
_UNITS = {
    "accuracy": (100.0, "{:.1f} %"),
    "peak memory": (2.0**-20, "{:.0f} MiB"),
    "speedup": (1.0, "{:.3f}"),
    "compile time": (1.0, "{:.2f} s"),
}
_LEGEND = {
    "error": "is the largest error of the graph over the rounding limit. Above 1 the modes differ.",
    "known": "counts tensors with a known difference of OneFlow.",
}


def report_check(document: CheckDocument, judged: Sequence[Judged]) -> List[Block]:
    """The whole report: a row for each model, details of those not identical, the conclusion."""
    checks = [one.check for one in judged]
    heading = (
        f"Check of {_count(len(checks))}, OneFlow {document.oneflow or 'unknown'}, "
        f"BLAS kernel {document.blas_kernel or 'unknown'}"
    )
    return [
        Heading(heading),
        *build_models(checks),
        *(block for check in checks for block in describe_check(check)),
        *describe_speed(checks),
        *_describe_known([(check.model, hit) for check in checks for hit in check.known]),
        *report_findings(judged),
        Heading("Conclusion"),
        Text(conclude(judged)),
    ]


def conclude(judged: Sequence[Judged]) -> List[str]:
    """The exit status in words, and the models that have it."""
    status = worst_status([one.exit_status for one in judged])
    names = [one.check.model for one in judged if one.exit_status == status]
    lines = [f"Exit status {status}: {_MEANING[status]} ({len(names)} of {_count(len(judged))})."]
    if status:
        lines.append(f"Models with this status: {', '.join(names)}.")
    steps = sorted({one.check.steps for one in judged if one.check.error is None})
    if steps:
        told = " to ".join(map(str, dict.fromkeys((steps[0], steps[-1]))))
        lines.append(f"Judged: {told} train steps; --epochs and --steps-per-epoch set them.")
    better = [one.check.model for one in judged if one.of_kind("improvement")]
    if better:
        lines.append(
            f"Better than the baseline: {', '.join(better)}. If this is intended, store it with "
            "bench baseline update."
        )
    return lines


def _count(models: int) -> str:
    return f"{models} model{'' if models == 1 else 's'}"


def build_models(checks: Sequence[ModelCheck]) -> List[Block]:
    """A row for each model, and a line for each column of numbers that tells something."""
    numbers = [*_LEGEND, "time, s"]
    rows = [_summary_row(check) for check in checks]
    told = [any(row[place] not in ("0", MISSING) for row in rows) for place in (3, 4)]
    lines = [f"Column {name} {_LEGEND[name]}" for name, tells in zip(_LEGEND, told) if tells]
    table = Table(["model", "verdict", "first difference", *numbers], rows, right=numbers)
    return [table, Text(lines)] if lines else [table]


def _summary_row(check: ModelCheck) -> List[str]:
    worst = [level.worst.error_ratio for level in check.levels if level.worst is not None]
    ratios = [ratio for ratio in worst if ratio is not None]
    # a tensor that is different comes before one that is only inexact
    different = [(lev.level, d.name) for lev in check.levels if (d := lev.first_different)]
    inexact = [(lev.level, lev.first_inexact) for lev in check.levels if lev.first_inexact]
    return [
        check.title,
        "failed" if check.error is not None else check.verdict,
        ": ".join([*different, *inexact, (MISSING,)][0]),
        f"{max(ratios):.2g}" if ratios else MISSING,
        str(sum(level.known for level in check.levels)),
        f"{check.duration_s:.1f}" if check.duration_s else MISSING,
    ]


def describe_check(check: ModelCheck) -> List[Block]:
    """The levels of a check and its first difference; nothing if all is identical."""
    if check.error is not None:
        return [Heading(f"{check.title}: failed"), Text(check.error.splitlines())]
    if check.verdict == "identical":
        return []
    blocks: List[Block] = [
        Heading(f"{check.title}: {check.verdict}"),
        Text([format_sentence(check.reason)]),
    ]
    if check.origin is not None:
        blocks.append(Text([f"First difference of {check.model}:"]))
        blocks.append(Table(["property", "value"], describe_origin(check)))
    if check.levels:
        numbers = ["tensors", "same", "rounding", "differ", "known"]
        counted = ("tensors", "identical", "within_rounding", "different", "known")
        rows = [
            [level.level, level.verdict, *(str(getattr(level, name)) for name in counted)]
            for level in check.levels
        ]
        blocks.append(Table(["level", "verdict", *numbers], rows, right=numbers))
    lines = [
        f"{level.level}: {level.reason}."
        for level in check.levels
        if level.verdict != "identical" and level.reason not in check.reason
    ]
    for name, side in ((check.baseline, check.eager), (check.contender, check.graph)):
        if side is not None and side.losses:
            first, last = _format_float(side.losses[0]), _format_float(side.losses[-1])
            line = f"{name}: loss {first} to {last}"
            if side.accuracy is not None:
                line += f", accuracy after training {side.accuracy * 100:.1f} %"
            lines.append(f"{line}.")
    return [*blocks, Text(lines)]


def describe_origin(check: ModelCheck) -> List[List[str]]:
    """Rows (property, value) of the first difference; none without one."""
    origin = check.origin
    if origin is None:
        return []
    shape = "x".join(map(str, origin.shape)) or "one value"
    isolated = filter(None, (origin.isolated_layer, origin.isolated_layer_reason))
    told = {True: "shows the difference", False: "shows no difference", None: "was not run"}
    script = f"{origin.script} ({told[origin.script_confirms]})" if origin.script else "none"
    return [
        ["tensor", f"{origin.level}: {origin.name}"],
        ["kind and shape", f"{origin.kind}, {shape}"],
        ["operator", origin.operator or "unknown"],
        *_origin_values(check.levels, origin.level, origin.name),
        ["isolated layer", ": ".join(isolated)],
        ["script", script],
    ]


def _origin_values(levels: Sequence[LevelResult], level: str, name: str) -> List[List[str]]:
    """Both modes' values and the reference's at the largest difference."""
    first = next((one.first_different for one in levels if one.level == level), None)
    if first is None or first.name != name:
        return []
    if first.eager_value is None and first.graph_value is None:
        return [["values", first.note or "not finite"]]
    place = ", ".join(map(str, first.largest_at))
    return [
        [f"eager at [{place}]", _format_float(first.eager_value)],
        [f"graph at [{place}]", _format_float(first.graph_value)],
        ["reference there", _format_float(first.reference_value)],
        ["distance", _describe_distance(first)],
    ]


def _describe_distance(found: TensorDifference) -> str:
    """The distance of the modes in units of the values, in float32 steps, and as an angle."""
    parts = []
    if found.difference_rms is not None:
        parts.append(f"RMS {found.difference_rms:.2e} of {found.reference_rms or 0:.2e}")
    if found.max_ulp is not None:
        parts.append(f"at most {found.max_ulp:,} ULP")
    if found.cosine is not None:
        parts.append(f"1 - cosine {1 - found.cosine:.1e}")
    return ", ".join(parts) or MISSING


def describe_speed(checks: Sequence[ModelCheck]) -> List[Block]:
    """A row for each model with a measured speed."""
    rows = [
        [
            check.model,
            "failed" if speedup.error else speedup.verdict,
            MISSING if speedup.ratio is None else f"{speedup.ratio:.3f}",
            MISSING if speedup.low is None else f"{speedup.low:.3f} to {speedup.high:.3f}",
            str(speedup.replicates),
            f"{speedup.duration_s:.0f}",
            (speedup.error or speedup.reason).splitlines()[0],
        ]
        for check in checks
        if (speedup := check.speedup) is not None
    ]
    numbers = ["speedup", "95 % interval", "replicates", "time, s"]
    heading = Heading("Speed of graph mode: eager time over graph time of a train step")
    table = Table(["model", "verdict", *numbers, "reason"], rows, right=numbers)
    return [heading, table] if rows else []


def _describe_known(hits: Sequence[Tuple[str, KnownHit]]) -> List[Block]:
    """`hits` are by model."""
    blocks: List[Block] = []
    for name in dict.fromkeys(hit.id for _, hit in hits):
        found = [(model, hit) for model, hit in hits if hit.id == name]
        entry = found[0][1]
        now = [f"{model} ({hit.tensors})" for model, hit in found if not hit.outdated]
        gone = [model for model, hit in found if hit.outdated]
        lines = [f"{name}: {entry.reason}. See {entry.link}."]
        if now:
            lines.append(f"Tensors that it explains: {', '.join(now)}.")
        if gone:
            lines.append(
                f"Outdated in {', '.join(gone)}: these tensors no longer differ. Review the entry."
            )
        blocks.append(Text(lines))
    return [Heading("Known differences of OneFlow"), *blocks] if blocks else []


def report_findings(judged: Sequence[Judged]) -> List[Block]:
    """Metrics that are not as in the baselines; the others are counted."""
    compared = [one for one in judged if one.findings]
    if not compared:
        return []
    same = sum(len(one.of_kind("same")) for one in compared)
    lines = [f"Same as the baseline: {same} metrics of {_count(len(compared))}."]
    rows = []
    for one in compared:
        skipped: Dict[str, List[str]] = {}  # by reason
        for f in one.findings:
            if f.kind == "not compared":
                skipped.setdefault(f.reason, []).append(f.subject)
            elif f.kind != "same":
                rows.append([one.check.model, f.subject, f.kind, *_format_pair(f), f.reason])
        for reason, subjects in skipped.items():
            metrics = ", ".join(subjects)
            lines.append(f"Not compared for {one.check.model}: {metrics}. Reason: {reason}.")
    table = Table(["model", "metric", "kind", "baseline", "now", "reason"], rows)
    return [Heading("Comparison with the baselines"), *([table] if rows else []), Text(lines)]


def report_update(old: Optional[Baseline], new: Baseline, path: Path) -> List[Block]:
    """The changes of a rewritten baseline, metric by metric."""
    heading = Heading(f"{new.model}: {path}")
    if old is None:
        lines = [f"The first baseline: {new.verdict}, {new.graph.graph_ops} graph operators."]
        return [heading, Text(lines)]
    facts = [
        ("OneFlow", old.oneflow, new.oneflow),
        ("BLAS kernel", old.blas_kernel, new.blas_kernel),
        ("machine", old.machine, new.machine),
        *((name, was, getattr(new.workload, name)) for name, was in old.workload),
    ]
    rows = [[name, str(was), str(is_now), ""] for name, was, is_now in facts if was != is_now]
    rows += [
        [finding.subject, *_format_pair(finding), finding.reason]
        for finding in compare_with_baseline(new, old)
        if finding.expected != finding.found
    ]
    changes = Table(["metric", "old", "new", "reason"], rows)
    return [heading, changes if rows else Text(["Only the date changes."])]


def describe_finding(finding: Finding) -> str:
    """The reason with both values, as a sentence part."""
    expected, found = _format_pair(finding)
    return f"{finding.reason} (baseline {expected}, now {found})"


def _format_pair(finding: Finding) -> List[str]:
    """The baseline's value and the one of the check, with units."""
    return [format_value(finding.metric, value) for value in (finding.expected, finding.found)]


def format_value(metric: str, value: Value) -> str:
    """A value with its unit; losses at full precision."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value[:_DIGEST_CHARACTERS] if metric == "parameters digest" else value
    if metric in _UNITS:
        scale, text = _UNITS[metric]
        return text.format(value * scale)
    return str(value) if isinstance(value, int) else _format_float(value)


def _format_float(value: Optional[float]) -> str:
    """Nine digits tell any two float32 values apart."""
    return "not finite" if value is None else f"{value:.9g}"
