"""Shows how far a step is from its floor: tables for the terminal and a file. Units change here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

from ...record.run import write_atomically
from ...report.format import MISSING, format_ratio
from ...verdict.statistics import summarize
from ..profile.report import format_ms
from .document import MATMUL, Ceiling, LimitsDocument, Witness
from .floor import Roof, create_roofs, layer_floors, step_floor_s, sum_work, uncounted_kinds
from .layer_table import (
    create_layer_table,
    create_table,
    format_cores,
    format_milliseconds,
    format_percent,
)
from .witness import relative_differences

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDE = 100  # columns of a terminal that shows kinds too
_FILE_WIDTH = 160  # columns of the tables in a file
_GIGA, _MIB = 1e9, 2**20


def render_limits(document: LimitsDocument, console: Console, top: Optional[int]) -> None:
    """All tables: layers (the `top` by floor), ceilings, step, and PyTorch where it was asked."""
    roofs = create_roofs(document)
    floors = layer_floors(document.layers, roofs[-1], document.layer_times)
    wide = console.width >= _WIDE
    console.print(create_layer_table(document, floors, roofs[-1], top, wide))
    console.print(_ceiling_table(document))
    console.print(_step_table(document, roofs))
    if document.ratios:
        console.print(_ratio_table(document))
    if document.witness:
        console.print(_witness_table(document))
    for sentence in describe_limits(document):
        console.print(sentence, soft_wrap=True, highlight=False, markup=False)


def save_limits_tables(document: LimitsDocument, path: Path) -> None:
    """Write what `render_limits` shows as text, with all layers."""
    from rich.console import Console

    stream = io.StringIO()
    render_limits(document, Console(file=stream, width=_FILE_WIDTH), None)
    write_atomically(path, "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines()))


def describe_limits(document: LimitsDocument) -> List[str]:
    """Sentences on what was counted and what the ceilings stand for."""
    roofs = create_roofs(document)
    said = [
        f"A step is {sum_work(document.layers).flops / _GIGA:.2f} GFLOP and moves at least "
        f"{sum_work(document.layers).bytes / _MIB:.1f} MiB. Floor: for each layer's forward, "
        "backward and update the longer of operations / peak and bytes / bandwidth, summed; peak "
        "and bandwidth are the best that was measured.",
        "Not counted, so that the floor is rather too low: the loss, and operators between the "
        "layers, such as the sum of a residual branch.",
    ]
    unknown = uncounted_kinds(document.layers)
    if unknown:
        said.append(f"Operations not known and counted 0: layers of kind {', '.join(unknown)}.")
    gain = _oneflow_gain(document)
    if gain is not None and len(roofs) > 1:
        said.append(
            f"OneFlow's matrix product on {document.cores} cores ran at {gain:.2f} times its speed "
            "on one core."
        )
    said += _describe_torch(document)
    if document.witness:
        said.append(
            "Differences of losses are relative to eager's; what eager float64 shows is rounding "
            "alone, which training can amplify from step to step."
        )
    if document.dropout_layers:
        said.append(
            f"For the losses alone dropout was switched off in {document.dropout_layers} layers: "
            "the libraries draw other random numbers."
        )
    return said


def _describe_torch(document: LimitsDocument) -> List[str]:
    """What PyTorch ran on, and why a cell of it is empty."""
    said = []
    for step in document.steps:
        if step.mode == "eager" and "torch" in step.environment:
            version, threads = step.environment["torch"], step.environment["threads"]
            said.append(
                f"PyTorch {version} computes on {threads} threads; compiled is torch.compile of "
                "model and loss."
            )
    errors = [(each.name, each.error) for each in document.steps]
    errors += [(each.name, each.error) for each in document.witness]
    return said + sorted({f"{name}: {error}" for name, error in errors if error})


def _oneflow_gain(document: LimitsDocument) -> Optional[float]:
    """Best rate of OneFlow's products on all cores over that on one."""
    best = {
        threads: max(
            (
                c.best
                for c in document.ceilings
                if (c.what, c.library, c.threads) == (MATMUL, "oneflow", threads)
            ),
            default=None,
        )
        for threads in (1, document.cores)
    }
    one, every = best[1], best[document.cores]
    return every / one if one and every else None


def _ceiling_table(document: LimitsDocument) -> Table:
    table = create_table(
        f"Measured ceilings (OneFlow in its {document.runtime} runtime)",
        ["what", "library", "cores", "best", "median"],
        left=2,
    )
    for ceiling in document.ceilings:
        unit = "GFLOP/s" if ceiling.what == MATMUL else "GB/s"
        rates = [ceiling.best, summarize(ceiling.rates).median]
        table.add_row(
            _describe_ceiling(ceiling),
            ceiling.library,
            str(ceiling.threads),
            *(f"{rate / _GIGA:.1f} {unit}" for rate in rates),
        )
    return table


def _describe_ceiling(ceiling: Ceiling) -> str:
    if ceiling.what == MATMUL:
        return f"matrix product, {ceiling.size} x {ceiling.size}"
    return f"copy of {ceiling.size / _MIB:.2f} MiB"


def _step_table(document: LimitsDocument, roofs: List[Roof]) -> Table:
    shares = [f"share, {format_cores(roof.threads)}" for roof in roofs]
    table = create_table(
        "The step, and the share of it that the floor is",
        ["", "ms", "GFLOP/s", "compile, s", *shares],
    )
    flops = sum_work(document.layers).flops
    floors_s = [step_floor_s(document.layers, roof) for roof in roofs]
    for roof, floor_s in zip(roofs, floors_s):
        rate = _rate(flops, floor_s)
        name = f"floor, {format_cores(roof.threads)}"
        table.add_row(name, format_milliseconds(floor_s), rate)
    for step in document.steps:
        if not step.step_time_s:
            table.add_row(step.name, "failed")
            continue
        found = summarize(step.step_time_s)
        compiled = MISSING if not step.compile_s else f"{step.compile_s:.2f}"
        shown = [format_percent(floor_s / found.median) for floor_s in floors_s]
        rate = _rate(flops, found.median)
        table.add_row(step.name, format_ms(found), rate, compiled, *shown)
    return table


def _rate(flops: int, duration_s: float) -> str:
    return f"{flops / duration_s / _GIGA:.1f}" if duration_s > 0 else MISSING


def _ratio_table(document: LimitsDocument) -> Table:
    table = create_table(
        "Times in turns: above 1 the second is faster (one process of each: no verdict)",
        ["", "ratio"],
    )
    for each in document.ratios:
        table.add_row(
            f"{each.baseline} / {each.contender}",
            format_ratio(each.ratio.ratio, each.ratio.low, each.ratio.high),
        )
    return table


def _witness_table(document: LimitsDocument) -> Table:
    count = len(document.witness[0].losses)
    table = create_table(
        f"Losses of {count} steps from the same weights, on the same batches",
        ["", "first", "last", "difference: step 1", "step 2", "largest"],
    )
    reference = document.witness[0]
    table.add_row(reference.name, *map(_loss, (reference.losses[0], reference.losses[-1])))
    for each in document.witness[1:]:
        table.add_row(each.name, *_witness_cells(each, reference))
    return table


def _witness_cells(witness: Witness, reference: Witness) -> List[str]:
    if not witness.losses:
        return ["failed"]
    differences = relative_differences(reference.losses, witness.losses)
    shown = [*(differences + [None])[:2], witness.max_relative_difference]
    cells = [MISSING if each is None else f"{each:.2g}" for each in shown]
    return [_loss(witness.losses[0]), _loss(witness.losses[-1]), *cells]


def _loss(loss: Optional[float]) -> str:
    return MISSING if loss is None else f"{loss:.6f}"
