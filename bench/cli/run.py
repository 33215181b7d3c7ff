"""A run of one or more contenders: planned, executed, read back and reported.

The commands eager, graph, compare and versions share it.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import click
from rich.console import Console

from ..errors import (
    EXIT_DIFFERENT,
    EXIT_DONE,
    EXIT_INCONCLUSIVE,
    EXIT_WORKER_FAILED,
    InputError,
    worst_status,
)
from ..measure.execution import create_document, execute_plan, execute_speed
from ..measure.parity_phase import PARITY_FOLDER, judge_training
from ..parity.run import create_check_launcher
from ..plan.contenders import parse_contenders
from ..plan.modes import count_ranks
from ..plan.plan import create_plan, split_flags
from ..plan.resolve import complete_contenders, resolve_contenders
from ..record.run import RunRecord, write_atomically
from ..report.blocks import format_markdown, print_blocks
from ..report.compare import build_report, build_run_report, dump_comparisons
from ..report.comparison import Comparison, compare_records, summarize_contender
from ..worker.environment import RuntimeResolver
from ..worker.process import check_contenders
from .progress import ProgressBar
from .ranks import take_ranks


def run_one_mode(mode: str, flags: Dict[str, Any]) -> int:
    """Train one contender and print its summary; the exit status."""
    from ..report.pictures import render_pictures

    spec = mode if (flags["ranks"] or 1) == 1 else f"{mode},ranks={flags['ranks']}"
    record = execute_specs(mode, [spec], flags, keep_checkpoints=True)
    summary = summarize_contender(record, record.contender_names()[0])
    assert record.folder is not None
    render_pictures([record], record.folder)
    if flags["as_json"]:
        click.echo(summary.model_dump_json(indent=1))
    else:
        console = Console()
        print_blocks(build_run_report(summary), console)
        console.print(f"record, checkpoints and pictures: {record.folder}", soft_wrap=True)
    return EXIT_DONE


def execute_specs(
    command: str, specs: List[str], flags: Dict[str, Any], keep_checkpoints: bool = False
) -> RunRecord:
    """Plan, run and read back. The record returned is the only source of the reports.

    Raises InputError for whatever cannot be run, before anything is started.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = dict(flags)
    ranks = take_ranks(given)
    request = ranks.request
    workload, measuring, side = split_flags({**given, "keep_checkpoints": keep_checkpoints})
    contenders = parse_contenders(specs, {**side, "ranks": request.ranks})
    if request.weak and not measuring.speed:
        raise InputError("--weak measures speed alone and --no-speed was given; leave one out")
    ranks.check(contenders)
    contenders, unavailable = resolve_contenders(contenders, request, len(os.sched_getaffinity(0)))
    readers = count_ranks(contenders)
    if readers > 1:
        workload["readers"] = readers
    with ProgressBar("images") as bar:
        plan = create_plan(workload, lambda done, total: bar("checking the data", done, total))
    contenders = complete_contenders(contenders, plan.workload, request.weak, command == "compare")
    environments = RuntimeResolver()
    check_contenders(contenders, environments)
    document = create_document(command, plan, measuring, contenders, environments)
    document.unavailable = unavailable
    folder = Path(flags["out"] or Path("results") / document.run_id)
    launcher = ranks.open_launcher(plan, document, folder, environments)
    with launcher as launch, ProgressBar("steps") as bar:
        if request.weak:
            return execute_speed(document, folder, launch, plan.prepare_dataset, bar.seconds)
        check = create_check_launcher(folder / PARITY_FOLDER, environments)
        judge = partial(judge_training, launch=check, observe=partial(bar, unit="turns"))
        return execute_plan(plan, document, folder, launch, bar, bar.seconds, judge)


def report_comparisons(
    baseline: RunRecord, contender: RunRecord, as_json: bool, folder: Optional[Path]
) -> int:
    """Compare every contender of a record with the first of another, or of the same one."""
    comparisons = compare_records(baseline, contender)
    if folder:
        records = [baseline] if baseline is contender else [baseline, contender]
        write_report(comparisons, records, folder)
    if as_json:
        click.echo(dump_comparisons(comparisons))
    else:
        console = Console()
        unavailable = contender.document.unavailable
        print_blocks(build_report(comparisons, unavailable, brief=True), console)
        if folder:
            console.print(f"report, record and pictures: {folder}", soft_wrap=True)
    return judge_parities(comparisons)


def write_report(comparisons: Sequence[Comparison], records: List[RunRecord], folder: Path) -> None:
    """`comparison.json`, `report.md` and the pictures."""
    from ..report.pictures import render_pictures

    pictures = render_pictures(records, folder)
    write_atomically(folder / "comparison.json", dump_comparisons(comparisons) + "\n")
    report = build_report(comparisons, records[-1].document.unavailable, pictures)
    write_atomically(folder / "report.md", format_markdown(report))


def judge_parities(comparisons: Sequence[Comparison]) -> int:
    """The exit status of the worst comparison. Known and expected differences count as none."""
    statuses = {"different": EXIT_DIFFERENT, "inconclusive": EXIT_INCONCLUSIVE}
    unexplained = [one for one in comparisons if not one.parity_expected]
    failed = any(one.check is not None and one.check.error is not None for one in unexplained)
    found = [statuses.get(one.parity, EXIT_DONE) for one in unexplained]
    return worst_status([EXIT_DONE, *found, *([EXIT_WORKER_FAILED] if failed else [])])
