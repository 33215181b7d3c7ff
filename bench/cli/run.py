"""A run of one or more contenders: planned, executed, read back and reported.

The commands eager, graph, compare and versions share it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

import click

from ..errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_INCONCLUSIVE, InputError, worst_status
from .progress import ProgressBar
from .rank_options import check_nodes, open_launcher, take_rank_flags

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from ..record.run import Document, RunRecord
    from ..report.comparison import Comparison
    from ..worker.messages import Launcher


def run_one_mode(mode: str, flags: Dict[str, Any]) -> int:
    """Train one contender and print its summary; the exit status."""
    from rich.console import Console

    from ..report.blocks import print_blocks
    from ..report.compare import build_run_report
    from ..report.comparison import summarize_contender
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
    """Plan, run and read back. The record returned is the only source of the reports."""
    from ..measure.execution import create_document
    from ..plan.contenders import parse_contenders
    from ..plan.modes import count_ranks
    from ..plan.plan import create_plan, split_flags
    from ..plan.resolve import complete_contenders, resolve_contenders
    from ..worker.environment import RuntimeResolver
    from ..worker.process import check_contenders, create_launcher

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    request, nodes = take_rank_flags(flags)
    workload, measuring, side = split_flags({**flags, "keep_checkpoints": keep_checkpoints})
    contenders = parse_contenders(specs, {**side, "ranks": request.ranks})
    if request.weak and not measuring.speed:
        raise InputError("--weak measures speed alone and --no-speed was given; leave one out")
    check_nodes(nodes, contenders)
    contenders, unavailable = resolve_contenders(contenders, request, len(os.sched_getaffinity(0)))
    ranks = count_ranks(contenders)
    if ranks > 1:
        workload["readers"] = ranks
    with ProgressBar("images") as bar:
        plan = create_plan(workload, lambda done, total: bar("checking the data", done, total))
    contenders = complete_contenders(contenders, plan.workload, request.weak, command == "compare")
    environments = RuntimeResolver()
    check_contenders(contenders, environments)
    document = create_document(command, plan, measuring, contenders, environments)
    document.unavailable = unavailable
    folder = Path(flags["out"] or Path("results") / document.run_id)
    if ranks == 1:
        return _execute(plan, document, folder, create_launcher(folder, environments))
    with open_launcher(nodes, plan, document, folder, environments) as launch:
        return _execute(plan, document, folder, launch, request.weak)


def _execute(
    plan: Plan, document: Document, folder: Path, launch: Launcher, speed_alone: bool = False
) -> RunRecord:
    from ..measure.execution import execute_plan, execute_speed

    with ProgressBar("steps") as bar:
        if speed_alone:
            return execute_speed(document, folder, launch, plan.prepare_dataset, bar.seconds)
        return execute_plan(plan, document, folder, launch, bar, bar.seconds)


def report_comparisons(
    baseline: RunRecord, contender: RunRecord, as_json: bool, folder: Optional[Path]
) -> int:
    """Compare every contender of a record with the first of another, or of the same one."""
    from rich.console import Console

    from ..report.blocks import print_blocks
    from ..report.compare import build_report, dump_comparisons
    from ..report.comparison import compare_records

    comparisons = compare_records(baseline, contender)
    if folder:
        records = [baseline] if baseline is contender else [baseline, contender]
        write_report(comparisons, records, folder)
    if as_json:
        click.echo(dump_comparisons(comparisons))
    else:
        console = Console()
        blocks = build_report(comparisons, contender.document.unavailable, brief=True)
        print_blocks(blocks, console)
        if folder:
            console.print(f"report, record and pictures: {folder}", soft_wrap=True)
    return judge_parities(comparisons)


def write_report(comparisons: Sequence[Comparison], records: List[RunRecord], folder: Path) -> None:
    """`comparison.json`, `report.md` and the pictures."""
    from ..record.run import write_atomically
    from ..report.blocks import format_markdown
    from ..report.compare import build_report, dump_comparisons
    from ..report.pictures import render_pictures

    pictures = render_pictures(records, folder)
    write_atomically(folder / "comparison.json", dump_comparisons(comparisons) + "\n")
    report = build_report(comparisons, records[-1].document.unavailable, pictures)
    write_atomically(folder / "report.md", format_markdown(report))


def judge_parities(comparisons: Sequence[Comparison]) -> int:
    """The exit status of the worst comparison. Known and expected differences count as none."""
    statuses = {"different": EXIT_DIFFERENT, "inconclusive": EXIT_INCONCLUSIVE}
    unexplained = [one.parity for one in comparisons if not one.parity_expected]
    return worst_status([EXIT_DONE, *(statuses.get(one, EXIT_DONE) for one in unexplained)])
