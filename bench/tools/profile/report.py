"""Shows a layer profile: tables for the terminal. Seconds become milliseconds here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, List, Mapping, Optional

from ...record.run import write_atomically
from ...verdict.statistics import Summary, summarize
from .document import GraphFacts, LayerRow, ProfileDocument, layer_rows, remainder_rows

if TYPE_CHECKING:
    from rich.console import Console


_WIDE = 110  # columns of a terminal that shows shapes and parameters too
_FILE_WIDTH = 160  # columns of the table in a file


def select_rows(rows: List[LayerRow], top: Optional[int]) -> List[LayerRow]:
    """The `top` layers by time, in the order of the model; all with None."""
    if top is None or top >= len(rows):
        return rows
    chosen = sorted(rows, key=lambda row: -row.total_s)[:top]
    return [row for row in rows if row in chosen]


def format_ms(value: Optional[Summary]) -> str:
    """Median in milliseconds and half the width of its interval; a dash where not measured."""
    if value is None:
        return "-"
    median = f"{value.median * 1e3:.2f}"
    if value.low is None or value.high is None:
        return median
    return f"{median} ±{(value.high - value.low) / 2 * 1e3:.2f}"


def render_profile(
    document: ProfileDocument,
    console: Console,
    top: Optional[int],
    limit_shares: Optional[Mapping[str, float]] = None,
) -> None:
    """The table of layers, what no layer accounts for, and in graph mode what was compiled.

    `limit_shares` has by layer the least possible over the measured time, shown where given.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    rows = layer_rows(document)
    shown = select_rows(rows, top)
    alone = ", each compiled alone" if document.mode == "graph" else ""
    table = Table(
        title=f"{document.model}, {document.mode}{alone}; batch {document.batch_size}, "
        f"{document.image_size} px",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    wide = console.width >= _WIDE
    titles = ["layer", "kind", *(["output", "params"] if wide else [])]
    titles += ["forward, ms", "backward, ms", "share"]
    titles += [] if limit_shares is None else ["share of limit"]
    for number, title in enumerate(titles):
        table.add_column(title, justify="left" if number < 2 else "right", overflow="fold")
    for row in shown:
        layer = row.layer
        name = layer.name if layer.calls == 1 else f"{layer.name} ({layer.calls} calls)"
        sizes = ["x".join(map(str, layer.output_shape)), f"{layer.num_params:,}"]
        table.add_row(
            escape(name),
            layer.kind,
            *(sizes if wide else []),
            format_ms(row.forward),
            format_ms(row.backward),
            f"{row.share * 100:.1f} %",
            *_limit_cells(layer.name, limit_shares),
        )
    others = [row for row in rows if row not in shown]
    if others:
        table.add_row(
            f"{len(others)} other layers",
            "",
            *(["", f"{sum(row.layer.num_params for row in others):,}"] if wide else []),
            f"{sum(row.forward.median for row in others) * 1e3:.2f}",
            f"{sum(row.backward.median for row in others if row.backward) * 1e3:.2f}",
            f"{sum(row.share for row in others) * 100:.1f} %",
        )
    console.print(table)
    for name, value in _summary_lines(document):
        console.print(f"{name:<36}{value}", soft_wrap=True, highlight=False)


def _limit_cells(name: str, limit_shares: Optional[Mapping[str, float]]) -> List[str]:
    if limit_shares is None:
        return []
    return [f"{limit_shares[name] * 100:.1f} %" if name in limit_shares else "-"]


def save_profile_table(
    document: ProfileDocument, path: Path, limit_shares: Optional[Mapping[str, float]] = None
) -> None:
    """Write what `render_profile` shows as text: all layers, with shapes and parameters."""
    from rich.console import Console

    stream = io.StringIO()
    render_profile(document, Console(file=stream, width=_FILE_WIDTH), None, limit_shares)
    write_atomically(path, "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines()))


def _summary_lines(document: ProfileDocument) -> List[tuple]:
    parts = document.parts
    lines = [
        ("step, eager, ms", format_ms(summarize(parts.step_s))),
        ("  forward / backward, ms", f"{format_ms(summarize(parts.forward_s))} / "
                                     f"{format_ms(summarize(parts.backward_s))}"),
        ("step while profiled, ms", format_ms(summarize(document.profiled_step_s))),
    ]  # fmt: skip
    if document.graph is not None:
        lines.append(("step, graph, ms", format_ms(summarize(document.graph.step_s))))
    lines += [(f"{name}, ms", f"{value * 1e3:.2f}") for name, value in remainder_rows(document)]
    if document.graph is not None:
        lines += _graph_lines(document.graph)
    return lines


def _graph_lines(graph: GraphFacts) -> List[tuple]:
    added = ", ".join(f"{kind} {count}" for kind, count in graph.added_types().items())
    gone = ", ".join(
        f"{kind} {count - graph.ops_compiled.get(kind, 0)}"
        for kind, count in graph.ops_built.items()
        if graph.ops_compiled.get(kind, 0) < count
    )
    return [
        ("compile, s", f"{graph.compile_s:.2f}"),
        ("operators before the passes", str(sum(graph.ops_built.values()))),
        ("operators after the passes", str(sum(graph.ops_compiled.values()))),
        ("types that came in", added or "none"),
        ("operators that went", gone or "none"),
    ]
