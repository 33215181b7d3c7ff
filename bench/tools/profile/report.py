"""A layer profile, and the limits beside it, as the blocks of a report. Units change here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from ...record.run import write_atomically
from ...report.blocks import Block, Heading, Table, Text, print_blocks
from ...report.speed import MISSING, format_ratio
from ...verdict.statistics import Summary, summarize
from .document import (
    GraphFacts,
    LayerRow,
    LimitsDocument,
    LossRun,
    ProfileDocument,
    find_floors,
    layer_rows,
    remainder_rows,
)
from .steps import relative_differences
from .work import (
    MATMUL,
    Ceiling,
    LayerFloor,
    create_roofs,
    step_floor_s,
    sum_work,
    uncounted_kinds,
)

WIDE, FULL = 110, 200  # columns of a terminal that shows more of a layer, and of the file
_GIGA, _MEGA, _MIB = 1e9, 1e6, 2**20
_PASSES = ("forward", "backward", "update")
_TIMES = ["forward, ms", "backward, ms", "share"]
_WORK = [*(f"{name}, MFLOP" for name in _PASSES), "MiB"]
_LIMITS = ["floor, ms", "limit", "share of limit"]
_LEFT = ("layer", "kind", "limit")


def report_profile(
    document: ProfileDocument,
    top: Optional[int] = None,
    width: int = FULL,
    limits: Optional[LimitsDocument] = None,
) -> List[Block]:
    """The layers, the rest of the step, and in graph mode the compiled operators.

    With the document's own limits, or stored `limits` of the same step, each layer has its floor
    and its share of it; with its own the ceilings, the steps and PyTorch's losses follow. Of the
    layers the `top` by time are shown, all with None. A narrow `width` shows less of each.
    """
    alone = ", each layer compiled alone" if document.mode == "graph" else ""
    limits = limits or document.limits
    floors = {} if limits is None else find_floors(document, limits)
    blocks: List[Block] = [
        Heading(
            f"{document.model}, {document.mode}{alone}; batch {document.batch_size}, "
            f"{document.image_size} px"
        ),
        _layer_table(layer_rows(document), floors, top, _list_columns(width, bool(floors))),
        Heading("The whole step"),
        Table(["", "ms"], _step_rows(document), right=["ms"]),
    ]
    if document.graph is not None:
        blocks += [Heading("Its graph"), Text(_graph_lines(document.graph))]
    return blocks + ([] if document.limits is None else report_limits(document.limits))


def save_report(blocks: Sequence[Block], path: Path) -> None:
    """Write the blocks as text."""
    from rich.console import Console

    stream = io.StringIO()
    print_blocks(blocks, Console(file=stream, width=FULL))
    write_atomically(path, "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines()))


def select_rows(rows: Sequence[LayerRow], top: Optional[int]) -> List[LayerRow]:
    """The `top` layers by time, in the order of the model; all with None."""
    chosen = sorted(range(len(rows)), key=lambda number: -rows[number].total_s)[:top]
    return [rows[number] for number in sorted(chosen)]


def _list_columns(width: int, has_limits: bool) -> List[str]:
    if not has_limits:
        return ["layer", "kind", *(["output", "params"] if width >= WIDE else []), *_TIMES]
    if width >= FULL:
        return ["layer", "kind", "output", "params", *_TIMES, *_WORK, *_LIMITS]
    kind, limit = (["kind"], ["limit"]) if width >= WIDE else ([], [])
    return ["layer", *kind, *_TIMES, "floor, ms", *limit, "share of limit"]


def _layer_table(
    rows: List[LayerRow], floors: Mapping[str, LayerFloor], top: Optional[int], columns: List[str]
) -> Table:
    """The `top` layers, the sum of the others, and of all."""
    shown = select_rows(rows, top)
    others = [row for row in rows if row not in shown]
    cells = [{**_sum_cells([row], floors), **_own_cells(row, floors)} for row in shown]
    if others:
        cells.append({**_sum_cells(others, floors), "layer": f"{len(others)} other layers"})
    cells.append({**_sum_cells(rows, floors), "layer": "all layers"})
    return Table(
        columns,
        [[one.get(column, "") for column in columns] for one in cells],
        right=[column for column in columns if column not in _LEFT],
    )


def _own_cells(row: LayerRow, floors: Mapping[str, LayerFloor]) -> Dict[str, str]:
    """The cells of one layer that a sum of layers has not."""
    layer = row.layer
    return {
        "layer": layer.name if layer.calls == 1 else f"{layer.name} ({layer.calls} calls)",
        "kind": layer.kind,
        "output": "x".join(map(str, layer.output_shape)),
        "forward, ms": format_ms(row.forward),
        "backward, ms": format_ms(row.backward),
        "limit": floors[layer.name].limit if floors else "",
    }


def _sum_cells(rows: Sequence[LayerRow], floors: Mapping[str, LayerFloor]) -> Dict[str, str]:
    """Cells by column, summed over the rows."""
    cells = {
        "params": f"{sum(row.layer.num_params for row in rows):,}",
        "forward, ms": _ms(sum(row.forward.median for row in rows)),
        "backward, ms": _ms(sum(row.backward.median for row in rows if row.backward)),
        "share": format_percent(sum(row.share for row in rows)),
    }
    if not floors:
        return cells
    found = [floors[row.layer.name] for row in rows]
    measured_s = sum(floor.measured_s or 0.0 for floor in found)
    known_s = sum((floor.share or 0.0) * (floor.measured_s or 0.0) for floor in found)
    for name, column in zip(_PASSES, _WORK):
        flops = sum(getattr(floor.layer, name).flops for floor in found)
        cells[column] = format_short(flops / _MEGA)
    return {
        **cells,
        "MiB": format_short(sum_work([floor.layer for floor in found]).bytes / _MIB),
        "floor, ms": _ms(sum(floor.floor_s for floor in found)),
        "share of limit": format_percent(known_s / measured_s) if measured_s else MISSING,
    }


def _step_rows(document: ProfileDocument) -> List[List[str]]:
    parts, graph = document.parts, document.graph
    rows = [
        ["step, eager", format_ms(summarize(parts.step_s))],
        ["  its forward", format_ms(summarize(parts.forward_s))],
        ["  its backward", format_ms(summarize(parts.backward_s))],
        ["step while profiled", format_ms(summarize(document.profiled_step_s))],
    ]
    if graph is not None:
        rows.append(["step, graph", format_ms(summarize(graph.step_s))])
    return rows + [[name, f"{value * 1e3:.2f}"] for name, value in remainder_rows(document)]


def _graph_lines(graph: GraphFacts) -> List[str]:
    added = ", ".join(f"{kind} {count}" for kind, count in graph.added_types().items())
    gone = ", ".join(
        f"{kind} {count - graph.ops_compiled.get(kind, 0)}"
        for kind, count in graph.ops_built.items()
        if graph.ops_compiled.get(kind, 0) < count
    )
    return [
        f"compiled in {graph.compile_s:.2f} s",
        f"operators before the passes: {sum(graph.ops_built.values())}",
        f"operators after the passes: {sum(graph.ops_compiled.values())}",
        f"types that came in: {added or 'none'}",
        f"operators that went: {gone or 'none'}",
    ]


def report_limits(limits: LimitsDocument) -> List[Block]:
    """The ceilings, the steps of OneFlow and PyTorch beside the floor, and their losses."""
    blocks: List[Block] = [
        Heading(f"Measured ceilings (OneFlow in its {limits.runtime} runtime)"),
        Table(
            ["rate of", "library", "cores", "best", "median"],
            [_ceiling_row(ceiling) for ceiling in limits.ceilings],
            right=["cores", "best", "median"],
        ),
        Heading("The step, and the share of its time that the floor is"),
        _floor_table(limits),
    ]
    if limits.ratios:
        blocks += [
            Heading("Times in turns: above 1 the second is faster (one process each, no verdict)"),
            Table(
                ["", "ratio"],
                [
                    [f"{one.baseline} / {one.contender}",
                     format_ratio(one.ratio.ratio, one.ratio.low, one.ratio.high)]
                    for one in limits.ratios
                ],
                right=["ratio"],
            ),
        ]  # fmt: skip
    if limits.loss_runs:
        reference = limits.loss_runs[0]
        columns = ["", "first", "last", "difference: step 1", "step 2", "largest"]
        blocks += [
            Heading(f"Losses of {len(reference.losses)} steps from the same weights and batches"),
            Table(
                columns,
                [[one.name, *_loss_cells(one, reference)] for one in limits.loss_runs],
                right=columns[1:],
            ),
        ]
    return [*blocks, Heading("Notes"), Text(describe_limits(limits))]


def _ceiling_row(ceiling: Ceiling) -> List[str]:
    is_product = ceiling.what == MATMUL
    name = (
        f"matrix product, {ceiling.size} x {ceiling.size}"
        if is_product
        else f"copy of {ceiling.size / _MIB:.2f} MiB"
    )
    rates = (ceiling.best, summarize(ceiling.rates).median)
    unit = "GFLOP/s" if is_product else "GB/s"
    shown = [f"{rate / _GIGA:.1f} {unit}" for rate in rates]
    return [name, ceiling.library, str(ceiling.threads), *shown]


def _floor_table(limits: LimitsDocument) -> Table:
    roofs = create_roofs(limits.ceilings, limits.cores)
    flops = sum_work(limits.layers).flops
    floors = [(roof.describe(), step_floor_s(limits.layers, roof)) for roof in roofs]
    columns = ["", "ms", "GFLOP/s", "compile, s", *(f"share, {name}" for name, _ in floors)]
    rows = [
        [f"floor, {name}", _ms(floor_s), _rate(flops, floor_s), *([""] * (1 + len(floors)))]
        for name, floor_s in floors
    ]
    for step in limits.steps:
        if not step.step_time_s:
            rows.append([step.name, "failed", *([""] * (2 + len(floors)))])
            continue
        time = summarize(step.step_time_s)
        compiled = f"{step.compile_s:.2f}" if step.compile_s else MISSING
        shares = [format_percent(floor_s / time.median) for _, floor_s in floors]
        rows.append([step.name, format_ms(time), _rate(flops, time.median), compiled, *shares])
    return Table(columns, rows, right=columns[1:])


def _loss_cells(run: LossRun, reference: LossRun) -> List[str]:
    if not run.losses:
        return ["failed", *([""] * 4)]
    ends = [MISSING if x is None else f"{x:.6f}" for x in (run.losses[0], run.losses[-1])]
    if run is reference:
        return [*ends, "", "", ""]
    differences = relative_differences(reference.losses, run.losses)
    shown = [*(differences + [None, None])[:2], run.max_relative_difference]
    return [*ends, *(MISSING if each is None else f"{each:.2g}" for each in shown)]


def describe_limits(limits: LimitsDocument) -> List[str]:
    """The definition of the floor, its omissions, and the conditions of PyTorch."""
    whole = sum_work(limits.layers)
    said = [
        f"A step is {whole.flops / _GIGA:.2f} GFLOP and moves at least {whole.bytes / _MIB:.1f} "
        "MiB.",
        "The floor is a sum over each layer's forward, backward and update: the longer of "
        "operations / peak and bytes / bandwidth, at the best rates that were measured.",
        "The loss and operators between the layers, such as the sum of a residual branch, are not "
        "counted. So the floor is rather too low.",
    ]
    unknown = uncounted_kinds(limits.layers)
    if unknown:
        said.append(f"Operations not known and counted 0: layers of kind {', '.join(unknown)}.")
    gain = _oneflow_gain(limits)
    if gain is not None:
        said.append(
            f"OneFlow's matrix product on {limits.cores} cores ran at {gain:.2f} times its speed "
            "on one core."
        )
    for step in limits.steps:
        if step.mode == "eager" and "torch" in step.environment:
            said.append(
                f"PyTorch {step.environment['torch']} computes on {step.environment['threads']} "
                "threads. Compiled is torch.compile of model and loss."
            )
    if limits.loss_runs:
        said.append(
            "Differences of losses are relative to eager's. Those of eager float64 are rounding "
            "alone, which training can amplify from step to step."
        )
    if limits.dropout_layers:
        said.append(
            f"For the losses alone dropout was switched off in {limits.dropout_layers} layers: "
            "the libraries draw other random numbers."
        )
    errors: List[Tuple[str, Optional[str]]] = [(each.name, each.error) for each in limits.steps]
    errors += [(each.name, each.error) for each in limits.loss_runs]
    return said + sorted({f"{name}: {error}" for name, error in errors if error})


def _oneflow_gain(limits: LimitsDocument) -> Optional[float]:
    """Best rate of OneFlow's products on all cores over that on one; None for a single core."""
    best: Dict[int, float] = {}
    for one in limits.ceilings:
        if (one.what, one.library) == (MATMUL, "oneflow"):
            best[one.threads] = max(best.get(one.threads, 0.0), one.best)
    if limits.cores == 1 or not {1, limits.cores} <= set(best):
        return None
    return best[limits.cores] / best[1]


def format_ms(value: Optional[Summary]) -> str:
    """Median in milliseconds and half the width of its interval; a dash where not measured."""
    if value is None:
        return MISSING
    if value.low is None or value.high is None:
        return f"{value.median * 1e3:.2f}"
    return f"{value.median * 1e3:.2f} ±{(value.high - value.low) / 2 * 1e3:.2f}"


def _ms(seconds: float) -> str:
    """With a third decimal below a millisecond."""
    return f"{seconds * 1e3:.3f}" if seconds < 1e-3 else f"{seconds * 1e3:.2f}"


def format_short(value: float) -> str:
    """Three digits that count, and no more behind a large number's point."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def format_percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _rate(flops: int, duration_s: float) -> str:
    return f"{flops / duration_s / _GIGA:.1f}" if duration_s > 0 else MISSING
