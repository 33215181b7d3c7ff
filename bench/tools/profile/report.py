"""A layer profile, and the limits beside it, as the blocks of a report. Units change here."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from rich.console import Console

from ...record.run import write_atomically
from ...report.blocks import Block, Heading, Table, Text, format_markdown, print_blocks
from ...report.format import MISSING, format_interval, format_ms, format_number, format_percent
from ...verdict.statistics import Summary, summarize
from .document import (
    GraphFacts,
    LayerProfile,
    LayerRow,
    LimitsDocument,
    LossRun,
    ProfileDocument,
    create_rows,
    layer_rows,
    relative_differences,
    remainder_rows,
    select_rows,
)
from .excess import report_excess
from .work import MATMUL, Ceiling, create_roofs, sum_work

WIDE, FULL = 110, 160  # columns of a terminal that shows more of a layer, and of the file
_GIGA, _MEGA, _MIB = 1e9, 1e6, 2**20
_LEFT = ("", "layer", "kind", "limit", "rate of", "library")


def report_profile(
    document: ProfileDocument,
    top: Optional[int] = None,
    width: int = FULL,
    limits: Optional[LimitsDocument] = None,
) -> List[Block]:
    """The layers, the rest of the step, and in graph mode the compiled operators.

    With limits, its own or stored ones, each layer has its floor, and the time above is split. With
    its own, ceilings, steps and losses follow. `top` layers are shown, and less in a narrow width.
    """
    alone = ", each layer compiled alone" if document.mode == "graph" else ""
    limits = limits or document.limits
    rows = layer_rows(document, limits)
    blocks: List[Block] = [
        Heading(f"{document.model}, {document.mode}{alone}; {document.describe_batch()}"),
        _layer_table(rows, top, _list_columns(width, limits is not None)),
        *_explain_untimed(rows),
        Heading("The whole step"),
        _table(["", "ms"], _step_rows(document)),
    ]
    if document.graph is not None:
        blocks += [Heading("Its graph"), Text(_graph_lines(document.graph))]
    blocks += [] if limits is None else report_excess(document, limits, top)
    return blocks + ([] if document.limits is None else report_limits(document.limits))


def _explain_untimed(rows: Sequence[LayerRow]) -> List[Block]:
    """The trained layers whose backward has no time, and the reason."""
    names = [row.layer.name for row in rows if row.backward is None and row.layer.param_sizes]
    line = (
        f"Share of the forward alone: {', '.join(names)}. A backward is timed where a layer takes "
        "and gives one tensor. Others, such as a GRU, count as outside the layers."
    )
    return [Text([line])] if names else []


def save_report(blocks: Sequence[Block], path: Path) -> None:
    write_atomically(path, format_text(blocks))


def format_text(blocks: Sequence[Block], width: int = FULL) -> str:
    """As in a terminal of `width` columns."""
    stream = io.StringIO()
    print_blocks(blocks, Console(file=stream, width=width))
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


class LayerTable:
    """Layers that print as a table, and show themselves as one in a notebook."""

    layers: List[LayerProfile]

    def __str__(self) -> str:
        return format_text([self._tabulate()], WIDE)

    def _repr_markdown_(self) -> str:
        return format_markdown([self._tabulate()])

    def _tabulate(self) -> Table:
        return _layer_table(create_rows(self.layers), None, _list_columns(WIDE, False))


def _list_columns(width: int, has_limits: bool) -> List[str]:
    wide, full = width >= WIDE, width >= FULL
    kind = ["kind"] if wide or not has_limits else []
    sizes = ["output", "params"] if full or (wide and not has_limits) else []
    limits = [*(["MFLOP", "MiB"] if full else []), "floor, ms", *(["limit"] if wide else [])]
    limits = [*limits, "share of limit"] if has_limits else []
    return ["layer", *kind, *sizes, "forward, ms", "backward, ms", "share", *limits]


def _layer_table(rows: List[LayerRow], top: Optional[int], columns: List[str]) -> Table:
    """The `top` layers, the sum of the others, and of all."""
    shown = select_rows(rows, top)
    others = [row for row in rows if row not in shown]
    cells = [{**_sum_cells([row]), **_own_cells(row)} for row in shown]
    if others:
        cells.append({**_sum_cells(others), "layer": f"{len(others)} other layers"})
    cells.append({**_sum_cells(rows), "layer": "all layers"})
    return _table(columns, [[each.get(column, "") for column in columns] for each in cells])


def _table(columns: List[str], rows: List[List[str]]) -> Table:
    """A short row has no more cells."""
    filled = [[*row, *([""] * (len(columns) - len(row)))] for row in rows]
    return Table(columns, filled, right=[column for column in columns if column not in _LEFT])


def _sum_cells(rows: Sequence[LayerRow]) -> Dict[str, str]:
    total_s = sum(row.total_s for row in rows)
    cells = {
        "params": f"{sum(row.layer.num_params for row in rows):,}",
        "forward, ms": _ms(sum(row.forward.median for row in rows)),
        "backward, ms": _ms(sum(row.backward_s for row in rows)),
        "share": format_percent(sum(row.share for row in rows), 1),
    }
    works = [row.work for row in rows if row.work is not None]
    if works:
        work = sum_work(works)
        share = sum(row.timed_floor_s for row in rows) / total_s if total_s else None
        cells["MFLOP"] = format_short(work.flops / _MEGA)
        cells["MiB"] = format_short(work.bytes / _MIB)
        cells["floor, ms"] = _ms(sum(row.floor_s for row in rows))
        cells["share of limit"] = format_percent(share, 1)
    return cells


def _own_cells(row: LayerRow) -> Dict[str, str]:
    """The cells of one layer that a sum of layers has not."""
    layer = row.layer
    return {
        "layer": layer.name if layer.calls == 1 else f"{layer.name} ({layer.calls} calls)",
        "kind": layer.kind,
        "output": "x".join(map(str, layer.output_shape)),
        "forward, ms": _median(row.forward),
        "backward, ms": _median(row.backward),
        "limit": row.limit,
    }


def _step_rows(document: ProfileDocument) -> List[List[str]]:
    measured = {
        "step, eager": document.parts.step_s,
        "  its forward": document.parts.forward_s,
        "  its backward": document.parts.backward_s,
        "step while profiled": document.profiled_step_s,
    }
    if document.graph is not None:
        measured["step, graph"] = document.graph.step_s
    rows = [[name, _median(summarize(values))] for name, values in measured.items()]
    return rows + [[name, format_ms(value, 2)] for name, value in remainder_rows(document)]


def _graph_lines(graph: GraphFacts) -> List[str]:
    built, compiled = Counter(graph.ops_built), Counter(graph.ops_compiled)
    added = ", ".join(f"{kind} {n}" for kind, n in compiled.items() if kind not in built)
    gone = ", ".join(f"{kind} {n}" for kind, n in (built - compiled).items())
    return [
        f"compiled in {graph.compile_s:.2f} s",
        f"operators before the passes: {sum(built.values())}",
        f"operators after the passes: {sum(compiled.values())}",
        f"types that came in: {added or 'none'}",
        f"operators that went: {gone or 'none'}",
    ]


def report_limits(limits: LimitsDocument) -> List[Block]:
    """The ceilings, the steps of OneFlow and PyTorch beside the floor, and their losses."""
    columns = ["rate of", "library", "cores", "best", "median"]
    blocks: List[Block] = [
        Heading(f"Measured ceilings (OneFlow in its {limits.runtime} runtime)"),
        _table(columns, [_ceiling_row(ceiling) for ceiling in limits.ceilings]),
        Heading("The step, and the share of its time that the floor is"),
        _floor_table(limits),
    ]
    if limits.ratios:
        title = "Times in turns: above 1 the second is faster (one process each, no verdict)"
        pairs = [(f"{one.baseline} / {one.contender}", one.ratio) for one in limits.ratios]
        rows = [[name, format_interval(ratio)] for name, ratio in pairs]
        blocks += [Heading(title), _table(["", "ratio"], rows)]
    if limits.loss_runs:
        reference = limits.loss_runs[0]
        title = f"Losses of {len(reference.losses)} steps from the same weights and batches"
        columns = ["", "first", "last", "difference: step 1", "step 2", "largest"]
        rows = [[one.name, *_loss_cells(one, reference)] for one in limits.loss_runs]
        blocks += [Heading(title), _table(columns, rows)]
    return [*blocks, Heading("Notes"), Text(describe_limits(limits))]


def _ceiling_row(ceiling: Ceiling) -> List[str]:
    name, unit = f"copy of {ceiling.size / _MIB:.2f} MiB", "GB/s"
    if ceiling.what == MATMUL:
        name, unit = f"matrix product, {ceiling.size} x {ceiling.size}", "GFLOP/s"
    rates = [ceiling.best, summarize(ceiling.rates).median]
    shown = [f"{rate / _GIGA:.1f} {unit}" for rate in rates]
    return [name, ceiling.library, str(ceiling.threads), *shown]


def _floor_table(limits: LimitsDocument) -> Table:
    roofs = create_roofs(limits.ceilings, limits.cores)
    flops = sum_work(limits.layers).flops
    floors = [(roof.describe(), roof.floor_s(limits.layers)) for roof in roofs]
    columns = ["", "ms", "GFLOP/s", "compile, s", *(f"share, {name}" for name, _ in floors)]
    rows = [[f"floor, {name}", _ms(floor_s), _rate(flops, floor_s)] for name, floor_s in floors]
    for step in limits.steps:
        row = [step.name, "failed"]
        if step.step_time_s:
            time = summarize(step.step_time_s)
            compiled = f"{step.compile_s:.2f}" if step.compile_s else MISSING
            shares = [format_percent(floor_s / time.median, 1) for _, floor_s in floors]
            row = [step.name, _median(time), _rate(flops, time.median), compiled, *shares]
        rows.append(row)
    return _table(columns, rows)


def _loss_cells(run: LossRun, reference: LossRun) -> List[str]:
    if not run.losses:
        return ["failed"]
    ends = [format_number(loss, ".6f") for loss in (run.losses[0], run.losses[-1])]
    differences = [] if run is reference else relative_differences(reference.losses, run.losses)
    shown = [*(differences + [None, None])[:2], run.max_relative_difference]
    return [*ends, *(format_number(each, ".2g") for each in shown)]


def describe_limits(limits: LimitsDocument) -> List[str]:
    """The definition of the floor, its omissions, and the conditions of PyTorch."""
    whole = sum_work(limits.layers)
    said = [
        f"A step is {whole.flops / _GIGA:.2f} GFLOP and at least {whole.bytes / _MIB:.1f} MiB.",
        "The floor is a sum over each layer's forward, backward and update: the longer of "
        "operations / peak and bytes / bandwidth, at the best rates that were measured.",
        "The loss and operators between the layers, such as the sum of a residual branch, are not "
        "counted. So the floor is rather too low.",
    ]
    unknown = sorted({layer.kind for layer in limits.layers if not layer.counted})
    if unknown:
        said.append(f"Operations not known and counted 0: layers of kind {', '.join(unknown)}.")
    rates = {c.threads: 0.0 for c in limits.ceilings}  # of OneFlow's products, by threads
    for ceiling in limits.ceilings:
        if (ceiling.what, ceiling.library) == (MATMUL, "oneflow"):
            rates[ceiling.threads] = max(rates[ceiling.threads], ceiling.best)
    if limits.cores > 1 and rates.get(1) and rates.get(limits.cores):
        every = f"{limits.cores} cores ran at {rates[limits.cores] / rates[1]:.2f} times its speed"
        said.append(f"OneFlow's matrix product on {every} on one core.")
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
    tried: List[Any] = [*limits.steps, *limits.loss_runs]
    return said + sorted({f"{one.name}: {one.error}" for one in tried if one.error})


def _median(value: Optional[Summary]) -> str:
    """In milliseconds, with half the width of its interval; a dash where not measured."""
    if value is None or value.low is None or value.high is None:
        return MISSING if value is None else format_ms(value.median, 2)
    return f"{format_ms(value.median, 2)} ±{format_ms((value.high - value.low) / 2, 2)}"


def _ms(seconds: float) -> str:
    return format_ms(seconds, 3 if seconds < 1e-3 else 2)


def format_short(value: float) -> str:
    """Three digits that count, and no more behind a large number's point."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def _rate(flops: int, duration_s: float) -> str:
    return f"{flops / duration_s / _GIGA:.1f}" if duration_s > 0 else MISSING
