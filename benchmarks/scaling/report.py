"""A calculation of scaling as the blocks of a report. Seconds become milliseconds here."""

from __future__ import annotations

from typing import List, Optional

from oneflow_bench.bench.report.blocks import Block, Heading, Table, Text
from oneflow_bench.bench.report.format import MISSING

from .link import LinkFit
from .model import Scaling, ScalingDocument

_MEGA = 1e6
_TIMES = ["ranks", "step, ms", "exposed, ms", "speedup", "efficiency", "if no overlap"]


def report_scaling(document: ScalingDocument) -> List[Block]:
    """The setting, a table each of weak and strong scaling and of traffic, and the assumptions."""
    strategy = "eager DDP" if document.mode == "eager" else "graph data parallel"
    strong = [one.strong for one in document.predictions]
    blocks: List[Block] = [
        Heading(f"Calculated, not measured: {document.model}, {strategy}"),
        Text(_setting_lines(document)),
        Heading(f"Weak scaling: {document.batch_size} images on each rank"),
        _scaling_table(document, [one.weak for one in document.predictions]),
        Heading(f"Strong scaling: {document.global_batch_size} images over all ranks"),
        _scaling_table(document, strong),
    ]
    if None in strong:
        blocks.append(
            Text(
                [
                    f"{MISSING}: these ranks do not divide {document.global_batch_size} images. "
                    "--global-batch-size sets another number."
                ]
            )
        )
    return [
        *blocks,
        Heading("Communication of a step"),
        _traffic_table(document),
        Heading("Assumed"),
        Text([f"- {sentence}" for sentence in document.assumptions]),
    ]


def _setting_lines(document: ScalingDocument) -> List[str]:
    link = document.link
    lines = [
        f"from one rank's step of {_milliseconds(document.step_time_s)} ms",
        f"{document.algorithm} all-reduce, {document.gradient_bytes / _MEGA:,.2f} MB of gradients, "
        f"buckets: {document.buckets} ({document.bucket_rule.describe()})",
        f"link: latency {link.latency_s * 1e6:,.4g} us, "
        f"bandwidth {link.bandwidth_bytes_per_s / _MEGA:,.4g} MB/s",
    ]
    return lines + (_fit_lines(document.fit) if document.fit is not None else [])


def _fit_lines(fit: LinkFit) -> List[str]:
    low, high = fit.bandwidth_low_bytes_per_s, fit.bandwidth_high_bytes_per_s
    lines = [
        f"fitted to {fit.count} all-reduces between {fit.ranks} ranks; 95 %: latency "
        f"{fit.latency_low_s * 1e6:,.4g} to {fit.latency_high_s * 1e6:,.4g} us, bandwidth "
        f"{_megabytes(low)} to {_megabytes(high)} MB/s; worst miss {_percent(fit.worst_residual)}"
    ]
    if fit.latency_held:
        lines.append("the fitted latency was below 0 and is held there")
    if fit.is_bad:
        lines.append("bad fit: latency and bandwidth alone do not describe these times")
    return lines


def _scaling_table(document: ScalingDocument, scalings: List[Optional[Scaling]]) -> Table:
    rows = []
    for prediction, scaling in zip(document.predictions, scalings):
        cells = [MISSING] * (len(_TIMES) - 1)
        if scaling is not None:
            timing = scaling.overlap
            cells = [
                _milliseconds(timing.step_time_s),
                _milliseconds(timing.exposed_s),
                _short(timing.speedup),
                _percent(timing.efficiency),
                _percent(scaling.no_overlap.efficiency),
            ]
        rows.append([f"{prediction.ranks:,}", *cells])
    return Table(_TIMES, rows, right=_TIMES)


def _traffic_table(document: ScalingDocument) -> Table:
    columns = ["ranks", "all-reduces, ms", "each rank sends, MB"]
    rows = [
        [f"{one.ranks:,}", _milliseconds(one.all_reduce_s), _short(one.sent_bytes / _MEGA)]
        for one in document.predictions
    ]
    return Table(columns, rows, right=columns)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3f}" if seconds < 1e-3 else f"{seconds * 1e3:.2f}"


def _short(value: float) -> str:
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _megabytes(value: Optional[float]) -> str:
    return "any" if value is None else f"{value / _MEGA:,.4g}"
