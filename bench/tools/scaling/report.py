"""Shows a calculation of scaling: a table and its assumptions. Seconds become milliseconds here."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional

from ...report.format import MISSING
from ..limits.layer_table import create_table, format_milliseconds, format_percent, format_short
from .link import LinkFit
from .model import Scaling, ScalingDocument

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_MEGA = 1e6
_TIMES = ("ranks", "step, ms", "exposed, ms", "speedup", "efficiency", "if no overlap")


def render_scaling(document: ScalingDocument, console: Console) -> None:
    """The setting, a table each of weak and strong scaling and of traffic, and the assumptions."""
    strategy = "eager DDP" if document.mode == "eager" else "graph data parallel"
    lines = [
        f"Calculated, not measured: {document.model}, {strategy}, from one rank's step of "
        f"{format_milliseconds(document.step_time_s)} ms",
        *_link_lines(document),
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False)
    console.print()
    console.print(
        _scaling_table(
            f"Weak scaling: {document.batch_size} images on each rank",
            document,
            [one.weak for one in document.predictions],
        )
    )
    strong = [one.strong for one in document.predictions]
    console.print(
        _scaling_table(
            f"Strong scaling: {document.global_batch_size} images over all ranks",
            document,
            strong,
        )
    )
    if None in strong:
        console.print(
            f"{MISSING}: these ranks do not divide {document.global_batch_size} images; "
            "--global-batch-size sets another number.\n",
            highlight=False,
        )
    console.print(_traffic_table(document))
    console.print("Assumed:", highlight=False)
    for sentence in document.assumptions:
        console.print(f"- {sentence}", highlight=False, markup=False)


def _link_lines(document: ScalingDocument) -> List[str]:
    link = document.link
    lines = [
        f"{document.algorithm} all-reduce, {document.gradient_bytes / _MEGA:,.2f} MB of gradients, "
        f"buckets: {document.buckets} ({document.bucket_rule.describe()})",
        f"link: latency {link.latency_s * 1e6:,.4g} us, "
        f"bandwidth {link.bandwidth_bytes_per_s / _MEGA:,.4g} MB/s",
    ]
    if document.fit is not None:
        lines += _fit_lines(document.fit)
    return lines


def _fit_lines(fit: LinkFit) -> List[str]:
    low, high = (_megabytes(value) for value in (
        fit.bandwidth_low_bytes_per_s, fit.bandwidth_high_bytes_per_s
    ))  # fmt: skip
    lines = [
        f"fitted to {fit.count} all-reduces between {fit.ranks} ranks; 95 %: latency "
        f"{fit.latency_low_s * 1e6:,.4g} to {fit.latency_high_s * 1e6:,.4g} us, bandwidth "
        f"{low} to {high} MB/s; worst miss {format_percent(fit.worst_residual)}"
    ]
    if fit.latency_held:
        lines.append("the fitted latency was below 0 and is held there")
    if fit.is_bad:
        lines.append("bad fit: latency and bandwidth alone do not describe these times")
    return lines


def _megabytes(value: Optional[float]) -> str:
    return "any" if value is None else f"{value / _MEGA:,.4g}"


def _scaling_table(
    title: str, document: ScalingDocument, scalings: List[Optional[Scaling]]
) -> Table:
    table = create_table(title, _TIMES, left=0)
    for prediction, scaling in zip(document.predictions, scalings):
        cells = [MISSING] * (len(_TIMES) - 1)
        if scaling is not None:
            timing = scaling.overlap
            cells = [
                format_milliseconds(timing.step_time_s),
                format_milliseconds(timing.exposed_s),
                format_short(timing.speedup),
                format_percent(timing.efficiency),
                format_percent(scaling.no_overlap.efficiency),
            ]
        table.add_row(f"{prediction.ranks:,}", *cells)
    return table


def _traffic_table(document: ScalingDocument) -> Table:
    table = create_table(
        "Communication of a step", ("ranks", "all-reduces, ms", "each rank sends, MB"), left=0
    )
    for one in document.predictions:
        table.add_row(
            f"{one.ranks:,}",
            format_milliseconds(one.all_reduce_s),
            format_short(one.sent_bytes / _MEGA),
        )
    return table
