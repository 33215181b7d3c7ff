"""The table of layers with their floors, and how all tables of limits are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Optional, Sequence

from ...report.format import MISSING
from .document import LimitsDocument
from .floor import LayerFloor, Roof, sum_work

if TYPE_CHECKING:
    from rich.table import Table

_MEGA, _MIB = 1e6, 2**20
_PASSES = ("forward", "backward", "update")


def create_table(title: str, columns: Sequence[str], left: int = 1) -> Table:
    """An empty table, its first `left` columns aligned to the left; the first never folds."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(
            column,
            justify="left" if number < left else "right",
            overflow="fold",
            no_wrap=number == 0,
        )
    return table


def select_floors(floors: Sequence[LayerFloor], top: Optional[int]) -> List[LayerFloor]:
    """The `top` layers by floor, in the order of the model; all with None."""
    chosen = sorted(range(len(floors)), key=lambda n: -floors[n].floor_s)[:top]
    return [floors[number] for number in sorted(chosen)]


def create_layer_table(
    document: LimitsDocument, floors: List[LayerFloor], roof: Roof, top: Optional[int], wide: bool
) -> Table:
    """The `top` layers by floor, the sum of the others, and of all.

    A narrow table has no kinds, and with measured times beside them no passes apart.
    """
    from rich.markup import escape

    work = document.workload
    shown = select_floors(floors, top)
    timed = any(floor.share is not None for floor in floors)
    columns = [*(["kind"] if wide else []), *(_PASSES if wide or not timed else ["MFLOP"])]
    columns += ["MiB", "floor, ms", "limit"]
    columns += ["measured, ms", "share of limit"] if timed else []
    table = create_table(
        f"{work.model}, batch {work.batch_size}, {work.image_size} px: a train step in MFLOP, "
        f"floor on {format_cores(roof.threads)}",
        ["layer", *columns],
        left=2 if wide else 1,
    )

    def add_row(name: str, of: Sequence[LayerFloor], kind: str = "", limit: str = "") -> None:
        cells = {**_layer_cells(of), "kind": kind, "limit": limit}
        table.add_row(escape(name), *(cells[column] for column in columns))

    for floor in shown:
        add_row(_name(floor), [floor], floor.layer.kind, floor.limit)
    others = [floor for floor in floors if floor not in shown]
    if others:
        add_row(f"{len(others)} other layers", others)
    table.add_section()
    add_row("all layers", floors)
    return table


def _name(floor: LayerFloor) -> str:
    calls = floor.layer.calls
    return floor.layer.name if calls < 2 else f"{floor.layer.name} ({calls} calls)"


def _layer_cells(floors: Sequence[LayerFloor]) -> Dict[str, str]:
    """Cells by column, of one layer or of the sum of several."""
    layers = [floor.layer for floor in floors]
    whole = sum_work(layers)
    cells = {
        name: format_short(sum(getattr(layer, name).flops for layer in layers) / _MEGA)
        for name in _PASSES
    }
    measured = [f for f in floors if f.measured_s is not None and f.share is not None]
    total_s = sum(f.measured_s or 0.0 for f in measured)
    floor_s = sum((f.share or 0.0) * (f.measured_s or 0.0) for f in measured)
    return {
        **cells,
        "MFLOP": format_short(whole.flops / _MEGA),
        "MiB": format_short(whole.bytes / _MIB),
        "floor, ms": format_milliseconds(sum(floor.floor_s for floor in floors)),
        "measured, ms": format_milliseconds(total_s) if measured else MISSING,
        "share of limit": format_percent(floor_s / total_s) if measured else MISSING,
    }


def format_cores(threads: int) -> str:
    """In words."""
    return "one core" if threads == 1 else f"{threads} cores"


def format_short(value: float) -> str:
    """Three digits that count, and no more behind a large number's point."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def format_milliseconds(seconds: float) -> str:
    """With a third decimal below a millisecond."""
    return f"{seconds * 1e3:.3f}" if seconds < 1e-3 else f"{seconds * 1e3:.2f}"


def format_percent(share: float) -> str:
    """With one decimal."""
    return f"{share * 100:.1f} %"
