"""`bench sweep`: eager against graph over models, batch sizes and other fields."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

import click

from ..config import STEP_DATA
from ..errors import InputError, Interrupted
from ..plan.plan import Plan
from ..record.run import create_run_id, ensure_folder, write_atomically
from ..report.page import PAGE_NAME
from ..report.screen import summarize_blocks
from ..tools.sweep.cell import measure_cell, run_sweep
from ..tools.sweep.continuing import carry_results, find_stored_sweep, hold_folder
from ..tools.sweep.document import (
    Cell,
    CellResult,
    SweepDocument,
    choose_exit_status,
    format_csv,
    load_sweep,
    summarize_sweep,
)
from ..tools.sweep.growth import measure_growth
from ..tools.sweep.plan import SHORT_TRAINING, PlannedCell, order_cells, plan_sweep
from ..worker.environment import RuntimeResolver
from .console import VERDICTS, ProgressBar, detail_options, print_detail, print_place
from .failures import go_on_without
from .options import (
    HeadedCommand,
    cluster_option,
    describe_field,
    find_given_flag,
    run_options,
    step_argument,
    take_step,
)
from .value_types import NumberRange, RunFolder, ValueList

# one value for all cells: lists, names of files, how to measure and to print
_SHARED = {
    "config", "model_args", "lr_milestones", "load_checkpoint", "teacher_checkpoint", "block_steps",
    "timeout_s", "out", "as_json", "cell_timeout_s", "from_folder", "cluster",
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
    shown = [one for one in command.params if not (isinstance(one, click.Option) and one.hidden)]
    command.params = [option for option in shown if option.name != "resume"]
    for option in command.params:
        assert option.name is not None
        if not isinstance(option, click.Option):
            continue
        option.help = _HELP.get(option.name, option.help)
        if option.name not in _SHARED and not option.is_flag:
            option.type = ValueList(option.type)
    return command


@_take_lists
@click.command(cls=HeadedCommand)
@step_argument
@click.option("--from", "from_folder", metavar="SWEEP",
              type=RunFolder("sweep"),
              help="Report a stored sweep again; runs nothing and needs no OneFlow.")  # fmt: skip
@click.option("--cell-timeout", "cell_timeout_s", type=NumberRange(0, min_open=True),
              default=1800.0, metavar="SECONDS",
              help="Longest a whole cell may take. Default: 1800.")  # fmt: skip
@click.option("--retry-failed", is_flag=True, help="Run the cells without a measurement again.")
@cluster_option
@run_options
@detail_options
def sweep(**flags: Any) -> int:
    """Compare eager and graph over models, batch sizes and any other listed fields.

    Each combination is a cell, measured as by `bench compare` in processes of its own. A crash, a
    timeout or a refusal is the result of its cell. The same command with the same --out goes on.
    MODULE:STEP is a TrainingStep of your own (docs/your-own-step.md), or several, by commas.

    \b
    bench sweep --model 'resnet*' --batch-size 1,2,4,8 --image-size 32
    bench sweep --model lenet --batch-size 8,32 --feed loader,memory --out mine
    bench sweep my_file:gpt --optimizer sgd,adamw --lr 1e-3
    bench sweep --from mine

    Exit status: 1 the modes of a cell differ, else 4 a cell has no measurement, else 3
    inconclusive, else 0; 2 bad input, 130 Ctrl-C.
    """
    from_folder, out, as_json = (flags.pop(name) for name in ("from_folder", "out", "as_json"))
    detail = flags.pop("detail")
    if from_folder is None:
        take_step(flags)
        if flags["data"] == STEP_DATA:
            steps = str(flags["model"]).split(",")
            flags.update(model=tuple(steps), data=(STEP_DATA,))
        folder = Path(out or f"results/{create_run_id('sweep')}")
        own = {name: flags.pop(name) for name in ("cell_timeout_s", "retry_failed", "cluster")}
        document = _run(folder, flags, quiet=detail == VERDICTS, **own)
    else:
        document, folder = _load(Path(from_folder), out, flags["step"])
    return _report(document, folder, from_folder or folder, as_json, detail)


def _load(stored: Path, out: Optional[str], step: Optional[str]) -> Tuple[SweepDocument, Path]:
    """A stored sweep and the folder of its report."""
    flag = step or find_given_flag(("from_folder", "out", "as_json", "detail"))
    if flag:
        raise InputError(
            f"{flag} is for a new sweep and --from reports a stored one; leave one out"
        )
    document = load_sweep(stored)
    folder = stored if stored.is_dir() else stored.parent
    return document, ensure_folder(Path(out)) if out else folder


def _run(
    folder: Path,
    flags: Dict[str, Any],
    cell_timeout_s: float,
    retry_failed: bool,
    cluster: Optional[str],
    quiet: bool,
) -> SweepDocument:
    find_stored_sweep(folder)  # a folder of other things is refused before the data are checked
    with ProgressBar("cells", quiet) as bar:
        document, planned = plan_sweep(folder.resolve().name, flags, partial(bar, "checking"))
    with hold_folder(ensure_folder(folder)):
        stored = find_stored_sweep(folder)
        if stored is not None:
            changed = carry_results(stored, document, folder, cell_timeout_s, retry_failed)
            kept = sum(cell.result is not None for cell in document.cells)
            why = "since their configuration, code, data or checkpoint changed"
            again = f", {changed} run again, {why}" if changed else ""
            done = f"{kept} of {len(document.cells)} cells are done and not run again"
            click.echo(f"going on: {done}{again}", err=True)
        _run_cells(document, planned, folder, cell_timeout_s, cluster, quiet)
    return document


def _run_cells(
    document: SweepDocument,
    planned: List[PlannedCell],
    folder: Path,
    cell_timeout_s: float,
    cluster: Optional[str],
    quiet: bool,
) -> None:
    waiting = sum(cell.result is None for cell in document.cells)
    click.echo(f"{waiting} of {len(document.cells)} cells to run in {folder}", err=True)
    environments = RuntimeResolver()
    with ProgressBar("steps", quiet) as bar, ExitStack() as stack:
        progress = _CellProgress(bar)
        joined = None
        if cluster is not None:
            from ..distributed.cluster import Cluster

            joined = stack.enter_context(Cluster(cluster, 0, "spread", bar.print_line))

        def execute(position: int) -> CellResult:
            cell = planned[position]
            if joined is None or cell.plan is None:
                return measure_cell(cell, folder, cell_timeout_s, environments, progress.show_steps)
            function = partial(_measure_there, cell, cell_timeout_s)
            result: CellResult = joined.call_on_free_node(function, cell.plan, folder)
            return result

        order = order_cells(document.cells, document.order_seed)
        nodes = 1 if joined is None else len(joined.nodes)
        try:
            run_sweep(document, folder, order, execute, progress.show_cell, nodes)
        except Interrupted:
            if any(cell.result for cell in document.cells):
                _write_reports(document, folder)
            raise


def _measure_there(
    cell: PlannedCell, cell_timeout_s: float, plan: Plan, folder: Path, variables: Dict[str, str]
) -> CellResult:
    """On a node of a cluster, with its own data and environment."""
    return measure_cell(
        replace(cell, plan=plan), folder, cell_timeout_s, RuntimeResolver(variables), _say_nothing
    )


def _say_nothing(message: str, done: int, total: int) -> None:
    """A node has no terminal."""


class _CellProgress:
    """A line for each cell that ended, and a bar with the steps of the one that runs."""

    def __init__(self, bar: ProgressBar) -> None:
        self._bar, self._where = bar, ""

    def show_steps(self, message: str, done: int, total: int) -> None:
        self._bar(f"{self._where} | {message}", done, total)

    def show_cell(self, cell: Cell, done: int, total: int, left_s: Optional[float]) -> None:
        left = f", about {_duration(left_s)} left" if left_s else ""
        result = cell.result
        if result is None:
            self._where = f"{done}/{total} cells done{left} | {cell.name}"
            return
        outcome: str = result.status
        if cell.speedup:
            ratio = f"{cell.speedup.ratio:.3f} times eager's speed"
            outcome = f"graph at {ratio}, {result.parity}"
        took = _duration(result.duration_s)
        self._bar.print_line(f"[{done}/{total}] {cell.name}: {outcome}, in {took}{left}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _report(
    document: SweepDocument,
    folder: Path,
    stored: Union[str, Path],
    as_json: bool,
    detail: Optional[str],
) -> int:
    """Print the report and write it to `folder`; `stored` has the sweep."""
    from ..tools.sweep.report import report_sweep

    summary = summarize_sweep(document)
    if as_json:
        everything = {
            "summary": summary.model_dump(),
            "growth": [one.model_dump() for one in measure_growth(document)],
            "sweep": document.model_dump(),
        }
        click.echo(json.dumps(everything, indent=1))
    else:
        blocks = report_sweep(document)
        print_detail(detail, blocks, summarize_blocks(blocks), blocks[1:2])
        print_place("report, table, pictures and records", folder)
    with go_on_without("the report", f"bench sweep --from {stored} makes it"):
        _write_reports(document, folder)
    return choose_exit_status(summary)


def _write_reports(document: SweepDocument, folder: Path) -> None:
    """Write the page, pictures, Markdown and CSV, computed from the stored cells."""
    from ..tools.sweep.dashboard import render_sweep_page
    from ..tools.sweep.report import render_sweep_pictures, report_sweep
    from .run import write_markdown

    write_atomically(folder / "cells.csv", format_csv(document))
    build, draw = partial(report_sweep, document), partial(render_sweep_pictures, document, folder)
    write_markdown(folder, build, draw)
    write_atomically(folder / PAGE_NAME, render_sweep_page(document, folder))
