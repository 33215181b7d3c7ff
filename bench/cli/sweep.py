"""`bench sweep`: eager against graph over models, batch sizes and other fields."""

from __future__ import annotations

import json
import signal
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import click

from ..errors import InputError, Interrupted
from ..tools.sweep.plan import SHORT_TRAINING
from .options import HeadedCommand, describe_field, find_given_flag, run_options
from .progress import ProgressBar
from .value_types import ValueList

if TYPE_CHECKING:
    from ..tools.sweep.document import Cell, CellResult, SweepDocument, SweepSummary
    from ..tools.sweep.growth import Growth
    from ..tools.sweep.plan import PlannedCell

# one value for all cells: lists, names of files, how to measure and to print
_SHARED = {
    "config", "model_args", "lr_milestones", "load_checkpoint", "teacher_checkpoint", "block_steps",
    "timeout_s", "out", "as_json", "cell_timeout_s", "from_folder",
}  # fmt: skip
_HELP = {
    "model": "Names or wildcards of `bench models`, or package.module:factory. "
    "Default: alexnet_cifar.",
    **{name: describe_field(name, value) for name, value in SHORT_TRAINING.items()},
    "out": "Folder of the sweep; a stored sweep there goes on. Default: results/sweep-<time>.",
    "as_json": "Print the results as JSON.",
}


def _take_lists(command: click.Command) -> click.Command:
    """Let every option that is one value of the cells take a list, and none resume a run."""
    command.params = [option for option in command.params if option.name != "resume"]
    for option in command.params:
        assert isinstance(option, click.Option) and option.name is not None
        option.help = _HELP.get(option.name, option.help)
        if option.name not in _SHARED and not option.is_flag:
            option.type = ValueList(option.type)
    return command


@_take_lists
@click.command(cls=HeadedCommand)
@click.option("--from", "from_folder", default=None, metavar="DIR",
              help="Report a stored sweep again; runs nothing and needs no OneFlow.")  # fmt: skip
@click.option("--cell-timeout", "cell_timeout_s", type=click.FloatRange(0, min_open=True),
              default=1800.0, metavar="SECONDS",
              help="Longest a whole cell may take. Default: 1800.")  # fmt: skip
@click.option("--retry-failed", is_flag=True, help="Run the cells without a measurement again.")
@run_options
def sweep(**flags: Any) -> int:
    """Compare eager and graph over models, batch sizes and any other listed fields.

    Each combination is a cell, measured as by `bench compare` in processes of its own. A crash, a
    timeout or a refusal is the result of its cell. The same command with the same --out goes on.

    \b
    bench sweep --model 'resnet*' --batch-size 1,2,4,8 --image-size 32
    bench sweep --model lenet --batch-size 8,32 --feed loader,memory --out mine
    bench sweep --from mine

    Exit status: 1 the modes of a cell differ, else 4 a cell has no measurement, else 3
    inconclusive, else 0; 2 bad input, 130 Ctrl-C.
    """
    own = {name: flags.pop(name) for name in ("from_folder", "cell_timeout_s", "retry_failed")}
    out, as_json = flags.pop("out"), flags.pop("as_json")
    if own["from_folder"] is not None:
        from ..record.run import ensure_folder
        from ..tools.sweep.document import load_sweep

        _refuse_flags_with_from()
        stored = Path(own["from_folder"])
        document = load_sweep(stored)
        folder = stored if stored.is_dir() else stored.parent
        return _report(document, ensure_folder(Path(out)) if out else folder, as_json)
    document, folder = _run(flags, out, own["cell_timeout_s"], own["retry_failed"])
    return _report(document, folder, as_json)


def _refuse_flags_with_from() -> None:
    flag = find_given_flag(("from_folder", "out", "as_json"))
    if flag:
        raise InputError(
            f"{flag} is for a new sweep and --from reports a stored one; leave one out"
        )


def _run(
    flags: Dict[str, Any], out: Optional[str], cell_timeout_s: float, retry_failed: bool
) -> Tuple[SweepDocument, Path]:
    from ..record.run import ensure_folder
    from ..tools.sweep.cell import measure_cell, run_sweep
    from ..tools.sweep.plan import find_stored_sweep, order_cells
    from ..worker.environment import RuntimeResolver

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    now = datetime.now(timezone.utc)
    folder = Path(out or f"results/sweep-{now:%Y%m%d-%H%M%S}")
    stored = find_stored_sweep(folder)
    document, planned = _plan(flags, folder, now.isoformat(timespec="seconds"))
    if stored is not None:
        _go_on(stored, document, folder, cell_timeout_s, retry_failed)
    ensure_folder(folder)
    waiting = sum(cell.result is None for cell in document.cells)
    click.echo(f"{waiting} of {len(document.cells)} cells to run in {folder}", err=True)
    environments = RuntimeResolver()
    order = order_cells(document.cells, document.order_seed)
    with ProgressBar("steps") as bar:
        progress = _CellProgress(bar)

        def execute(position: int) -> CellResult:
            return measure_cell(
                planned[position], folder, cell_timeout_s, environments, progress.show_steps
            )

        try:
            run_sweep(document, folder, order, execute, progress.show_cell)
        except Interrupted:
            if any(cell.result for cell in document.cells):
                _write_reports(document, folder)
            raise
    return document, folder


def _plan(
    flags: Dict[str, Any], folder: Path, created: str
) -> Tuple[SweepDocument, List[PlannedCell]]:
    from ..tools.sweep.document import SweepDocument
    from ..tools.sweep.plan import create_axes, describe_sweep_machine, plan_cells

    lists = {name: value for name, value in flags.items() if isinstance(value, tuple)}
    axes = create_axes(lists, flags["config"])
    shared = {name: value for name, value in flags.items() if name not in lists}
    shared.update({name: values[0] for name, values in lists.items() if name not in axes})
    with ProgressBar("cells") as bar:
        planned = plan_cells(axes, shared, lambda done, total: bar("checking", done, total))
    document = SweepDocument(
        sweep_id=folder.resolve().name,
        created=created,
        axes=axes,
        order_seed=(lists.get("seed") or (0,))[0],
        machine=describe_sweep_machine(),
        cells=[one.cell for one in planned],
    )
    return document, planned


def _go_on(
    stored: SweepDocument,
    document: SweepDocument,
    folder: Path,
    cell_timeout_s: float,
    retry_failed: bool,
) -> None:
    from ..tools.sweep.plan import carry_results

    changed = carry_results(stored, document, folder, cell_timeout_s, retry_failed)
    document.created = stored.created
    kept = sum(cell.result is not None for cell in document.cells)
    click.echo(
        f"going on: {kept} of {len(document.cells)} cells are done and not run again"
        + (f", {changed} run again, since their configuration changed" if changed else ""),
        err=True,
    )


class _CellProgress:
    """A line for each cell that ended, and a bar with the steps of the one that runs."""

    def __init__(self, bar: ProgressBar) -> None:
        self._bar, self._where = bar, ""

    def show_steps(self, message: str, done: int, total: int) -> None:
        self._bar(f"{self._where} | {message}", done, total)

    def show_cell(self, cell: Cell, done: int, total: int, left_s: Optional[float]) -> None:
        from ..tools.sweep.document import MODES, name_cell

        name = name_cell(cell.values)
        left = f", about {_duration(left_s)} left" if left_s else ""
        if cell.result is None:
            self._where = f"{done}/{total} cells done{left} | {name}"
            return
        result = cell.result
        outcome: str = result.status
        if result.status == "done" and result.speedup:
            baseline, contender = MODES
            ratio = f"{result.speedup.ratio:.3f} times {baseline}'s speed"
            outcome = f"{contender} at {ratio}, {result.parity}"
        line = f"[{done}/{total}] {name}: {outcome}, in {_duration(result.duration_s)}{left}"
        self._bar.print_line(line)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _report(document: SweepDocument, folder: Path, as_json: bool) -> int:
    from rich.console import Console

    from ..report.blocks import print_blocks
    from ..tools.sweep.document import choose_exit_status
    from ..tools.sweep.report import report_sweep

    summary, growth = _write_reports(document, folder)
    if as_json:
        everything = {
            "summary": summary.model_dump(),
            "growth": [one.model_dump() for one in growth],
            "sweep": document.model_dump(),
        }
        click.echo(json.dumps(everything, indent=1))
    else:
        console = Console()
        print_blocks(report_sweep(document, summary, growth), console)
        console.print(f"report, table, pictures and records: {folder}", soft_wrap=True)
    return choose_exit_status(summary)


def _write_reports(document: SweepDocument, folder: Path) -> Tuple[SweepSummary, List[Growth]]:
    """Compute the report from the stored cells and write pictures, Markdown and CSV."""
    from ..record.run import write_atomically
    from ..report.blocks import format_markdown
    from ..tools.sweep.document import summarize_sweep
    from ..tools.sweep.growth import measure_growth
    from ..tools.sweep.plot import render_sweep_pictures
    from ..tools.sweep.report import format_csv, report_sweep

    summary, growth = summarize_sweep(document), measure_growth(document)
    try:
        pictures = render_sweep_pictures(document, summary, growth, folder)
        report = format_markdown(report_sweep(document, summary, growth, pictures))
        write_atomically(folder / "report.md", report)
        write_atomically(folder / "cells.csv", format_csv(document))
    except OSError as error:
        raise InputError(
            f"the report cannot be written to {folder} ({error.strerror}); give --out another "
            "folder"
        ) from None
    return summary, growth
