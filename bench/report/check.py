"""What a check says, as blocks for the terminal and for Markdown. Pure.

Units change here and nowhere else: bytes to MiB, shares to percent.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from ..errors import worst_status
from ..parity.findings import Finding, Value
from ..parity.gate import Judged
from ..parity.result import (
    CheckDocument,
    KnownHit,
    LevelResult,
    ModelCheck,
    Origin,
    TensorDifference,
)
from .blocks import Block, Heading, Table, Text

MISSING = "-"
_DIGEST_CHARACTERS = 12
_MEANING = {
    0: "the modes agree",
    1: "the modes differ, or a metric is worse than its baseline",
    3: "inconclusive",
    4: "a worker failed",
}
LEGEND = (
    "error: the largest error of graph mode over what rounding explains, above 1 is different; "
    "known: tensors that differ as OneFlow is known to"
)


def report_check(document: CheckDocument, judged: Sequence[Judged]) -> List[Block]:
    """The whole report: a row for each model, details of those not identical, the conclusion."""
    blocks: List[Block] = [
        Heading(_title(document)),
        Table(
            ["model", "verdict", "first difference", "error", "known", "time, s"],
            [_summary_row(one.check) for one in judged],
            right=["error", "known", "time, s"],
        ),
        Text([LEGEND]),
    ]
    for one in judged:
        blocks += _describe_model(one.check)
    blocks += _describe_speed(judged)
    blocks += _describe_known(judged)
    blocks += report_findings(judged)
    return [*blocks, Heading("Conclusion"), Text(conclude(judged))]


def conclude(judged: Sequence[Judged]) -> List[str]:
    """The exit status in words, and the models that it is due to."""
    status = worst_status([one.exit_status for one in judged])
    names = [one.check.model for one in judged if one.exit_status == status]
    lines = [f"Exit status {status}: {_MEANING[status]} ({len(names)} of {_count(len(judged))})."]
    if status:
        lines.append(f"That is so for {', '.join(names)}.")
    better = [one.check.model for one in judged if one.of_kind("improvement")]
    if better:
        lines.append(
            f"Better than the baseline: {', '.join(better)}; if that is meant to be, "
            "bench baseline update keeps it."
        )
    return lines


def _title(document: CheckDocument) -> str:
    return (
        f"Check of {_count(len(document.checks))}, OneFlow "
        f"{document.oneflow or 'unknown'}, BLAS kernel {document.blas_kernel or 'unknown'}"
    )


def _count(models: int) -> str:
    return f"{models} model{'' if models == 1 else 's'}"


def _summary_row(check: ModelCheck) -> List[str]:
    ratios = [
        level.worst.error_ratio
        for level in check.levels
        if level.worst is not None and level.worst.error_ratio is not None
    ]
    verdict = "failed" if check.error is not None else check.verdict
    return [
        check.model,
        verdict,
        _find_first(check),
        f"{max(ratios):.2g}" if ratios else MISSING,
        str(sum(level.known for level in check.levels)),
        f"{check.duration_s:.1f}",
    ]


def _find_first(check: ModelCheck) -> str:
    """What is different comes before what is only inexact."""
    for level in check.levels:
        if level.first_different is not None:
            return f"{level.level}: {level.first_different.name}"
    for level in check.levels:
        if level.first_inexact is not None:
            return f"{level.level}: {level.first_inexact}"
    return MISSING


def _describe_model(check: ModelCheck) -> List[Block]:
    if check.verdict == "identical" and check.error is None:
        return []
    if check.error is not None:
        return [Heading(f"{check.model}: failed"), Text(check.error.splitlines())]
    blocks: List[Block] = [
        Heading(f"{check.model}: {check.verdict}"),
        Text([f"{check.reason}."]),
    ]
    blocks += _describe_origin(check)
    if check.levels:
        blocks.append(_level_table(check.levels))
    reasons = [
        f"{level.level}: {level.reason}."
        for level in check.levels
        if level.verdict != "identical" and level.reason not in check.reason
    ]
    blocks.append(Text([*reasons, *_describe_training(check)]))
    return blocks


def _describe_training(check: ModelCheck) -> List[str]:
    """Losses and accuracy of both modes in a line each."""
    lines = []
    for name, side in (("eager", check.eager), ("graph", check.graph)):
        if side is not None and side.losses:
            first, last = (_format_float(side.losses[index]) for index in (0, -1))
            accuracy = "unknown" if side.accuracy is None else f"{side.accuracy * 100:.1f} %"
            lines.append(f"{name}: loss {first} to {last}, accuracy after training {accuracy}.")
    return lines


def _level_table(levels: Sequence[LevelResult]) -> Table:
    numbers = ["tensors", "same", "rounding", "differ", "known"]
    rows = [
        [
            level.level,
            level.verdict,
            *map(str, (level.tensors, level.identical, level.within_rounding)),
            *map(str, (level.different, level.known)),
        ]
        for level in levels
    ]
    return Table(["level", "verdict", *numbers], rows, right=numbers)


def _describe_origin(check: ModelCheck) -> List[Block]:
    origin = check.origin
    if origin is None:
        return []
    shape = "x".join(map(str, origin.shape)) or "one value"
    rows = [
        ["where", f"{origin.level}: {origin.name}"],
        ["kind and shape", f"{origin.kind}, {shape}"],
        ["operator", origin.operator or "cannot be told"],
        *_origin_values(check, origin),
        ["alone", ": ".join(filter(None, (origin.alone, origin.alone_reason)))],
        ["script", _describe_script(origin)],
    ]
    return [
        Text([f"Where {check.model} begins to differ:"]),
        Table(["what", "found"], rows),
    ]


def _origin_values(check: ModelCheck, origin: Origin) -> List[List[str]]:
    """Both modes' values and the reference's where they are farthest apart."""
    for level in check.levels:
        found = level.first_different
        if found is None or (level.level, found.name) != (origin.level, origin.name):
            continue
        if found.eager_value is None and found.graph_value is None:
            return [["values", found.note or "not finite"]]
        place = ", ".join(map(str, found.largest_at))
        return [
            [f"eager at [{place}]", _format_float(found.eager_value)],
            [f"graph at [{place}]", _format_float(found.graph_value)],
            ["reference there", _format_float(found.reference_value)],
            ["distance", _describe_distance(found)],
        ]
    return []


def _describe_distance(found: TensorDifference) -> str:
    """How far apart the modes are, in units of the values, of float32 and as an angle."""
    parts = []
    if found.difference_rms is not None:
        parts.append(f"RMS {found.difference_rms:.2e} of {found.reference_rms or 0:.2e}")
    if found.max_ulp is not None:
        parts.append(f"at most {found.max_ulp:,} ULP")
    if found.cosine is not None:
        parts.append(f"1 - cosine {1 - found.cosine:.1e}")
    return ", ".join(parts) or MISSING


def _describe_script(origin: Origin) -> str:
    if origin.script is None:
        return "none"
    said = {True: "shows the difference", False: "shows no difference", None: "was not run"}
    return f"{origin.script} ({said[origin.script_confirms]})"


def _describe_speed(judged: Sequence[Judged]) -> List[Block]:
    """A row for each model whose speed was asked for."""
    measured = [(one.check.model, one.check.speedup) for one in judged if one.check.speedup]
    if not measured:
        return []
    numbers = ["speedup", "95 % interval", "replicates", "time, s"]
    rows = [
        [
            model,
            "failed" if speedup.error else speedup.verdict,
            MISSING if speedup.ratio is None else f"{speedup.ratio:.3f}",
            MISSING if speedup.low is None else f"{speedup.low:.3f} to {speedup.high:.3f}",
            str(speedup.replicates),
            f"{speedup.duration_s:.0f}",
            (speedup.error or speedup.reason).splitlines()[0],
        ]
        for model, speedup in measured
    ]
    return [
        Heading("Speed of graph mode: eager time over graph time of a train step"),
        Table(["model", "verdict", *numbers, "reason"], rows, right=numbers),
    ]


def _describe_known(judged: Sequence[Judged]) -> List[Block]:
    hits: List[Tuple[str, KnownHit]] = [
        (one.check.model, hit) for one in judged for hit in one.check.known
    ]
    if not hits:
        return []
    blocks: List[Block] = [Heading("Known differences of OneFlow")]
    for name in dict.fromkeys(hit.id for _, hit in hits):
        entry = next(hit for _, hit in hits if hit.id == name)
        met = [(model, hit) for model, hit in hits if hit.id == name]
        now = [f"{model} ({hit.tensors})" for model, hit in met if not hit.outdated]
        gone = [model for model, hit in met if hit.outdated]
        lines = [f"{name}: {entry.reason}. See {entry.link}."]
        if now:
            lines.append(f"Tensors that it explains: {', '.join(now)}.")
        if gone:
            lines.append(
                f"Outdated in {', '.join(gone)}: the tensors are there and do not differ; "
                "the entry wants to be looked at."
            )
        blocks.append(Text(lines))
    return blocks


def report_findings(judged: Sequence[Judged]) -> List[Block]:
    """What is not as in the baselines; the rest is counted."""
    compared = [one for one in judged if one.findings]
    if not compared:
        return []
    shown = [(one, f) for one in compared for f in one.findings if f.kind != "same"]
    blocks: List[Block] = [Heading("Against the baselines")]
    apart = [(one, f) for one, f in shown if f.kind != "not compared"]
    if apart:
        rows = [[one.check.model, f.subject, f.kind, *format_pair(f), f.reason] for one, f in apart]
        blocks.append(Table(["model", "metric", "kind", "baseline", "now", "reason"], rows))
    same = sum(len(one.of_kind("same")) for one in compared)
    lines = [f"As in the baseline: {same} metrics of {_count(len(compared))}."]
    for one in compared:
        for reason in dict.fromkeys(f.reason for f in one.of_kind("not compared")):
            metrics = [f.subject for f in one.of_kind("not compared") if f.reason == reason]
            lines.append(f"Not compared for {one.check.model}: {', '.join(metrics)}; {reason}.")
    return [*blocks, Text(lines)]


def format_pair(finding: Finding) -> Tuple[str, str]:
    """The baseline's value and the one found, with units."""
    return (
        format_value(finding.metric, finding.expected),
        format_value(finding.metric, finding.found),
    )


def format_value(metric: str, value: Value) -> str:
    """A value as it is shown; losses at full precision."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value[:_DIGEST_CHARACTERS] if metric == "parameters digest" else value
    if metric == "accuracy":
        return f"{value * 100:.1f} %"
    if metric == "peak memory":
        return f"{value / 2**20:.0f} MiB"
    if metric == "speedup":
        return f"{value:.3f}"
    if metric == "compile time":
        return f"{value:.2f} s"
    return str(value) if isinstance(value, int) else _format_float(value)


def _format_float(value: Optional[float]) -> str:
    """Nine digits tell any two float32 values apart."""
    return "not finite" if value is None else f"{value:.9g}"
