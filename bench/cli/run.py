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
from .rank_options import take_rank_request

if TYPE_CHECKING:
    from ..record.run import RunRecord
    from ..report.comparison import Comparison


def run_one_mode(mode: str, flags: Dict[str, Any]) -> int:
    """Train one contender and print its summary; the exit status."""
    from rich.console import Console

    from ..report.comparison import summarize_contender
    from ..report.pictures import render_pictures
    from ..report.tables import render_run

    spec = mode if (flags["ranks"] or 1) == 1 else f"{mode},ranks={flags['ranks']}"
    record = execute_specs(mode, [spec], flags, keep_checkpoints=True)
    summary = summarize_contender(record, record.contender_names()[0])
    assert record.folder is not None
    render_pictures([record], record.folder)
    if flags["as_json"]:
        click.echo(summary.model_dump_json(indent=1))
    else:
        console = Console()
        render_run(summary, console)
        console.print(f"record, checkpoints and pictures: {record.folder}", soft_wrap=True)
    return EXIT_DONE


def execute_specs(
    command: str, specs: List[str], flags: Dict[str, Any], keep_checkpoints: bool = False
) -> RunRecord:
    """Plan, run and read back. The record returned is the only source of the reports."""
    from ..distributed.machines.leading import lead_nodes
    from ..measure.execution import execute_plan, execute_speed
    from ..plan.arrangement import arrange_ranks, complete_contenders
    from ..plan.contenders import parse_contenders
    from ..plan.plan import create_document, create_plan, split_flags
    from ..plan.strategies import count_ranks
    from ..worker.environment import RuntimeResolver
    from ..worker.launch import check_contenders, create_launcher

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    request = take_rank_request(flags)
    workload, measuring, side = split_flags({**flags, "keep_checkpoints": keep_checkpoints})
    contenders = parse_contenders(specs, {**side, "ranks": request.ranks})
    if request.weak and not measuring.speed:
        raise InputError("--weak measures speed alone and --no-speed was given; leave one out")
    contenders, unavailable = arrange_ranks(contenders, request, len(os.sched_getaffinity(0)))
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
    if request.nodes.node_rank > 0:
        from ..distributed.machines.following import follow_machine_0

        own = folder.with_name(f"{folder.name}-node-{request.nodes.node_rank}")
        follow_machine_0(request.nodes, plan, document, own, environments, _show)
        raise click.exceptions.Exit(EXIT_DONE)  # the record and the report are machine 0's
    with lead_nodes(request.nodes, document, folder, _show) as nodes, ProgressBar("steps") as bar:
        launch = create_launcher(folder, environments, nodes=nodes)
        if request.weak:
            return execute_speed(document, folder, launch, plan.prepare_dataset, bar.seconds)
        return execute_plan(plan, document, folder, launch, bar, bar.seconds)


def _show(line: str) -> None:
    click.echo(line, err=True)


def report_comparisons(
    baseline: RunRecord, contender: RunRecord, as_json: bool, folder: Optional[Path]
) -> int:
    """Compare every contender of a record with the first of another, or of the same one."""
    from rich.console import Console

    from ..report.comparison import compare_records
    from ..report.contenders import dump_comparisons, render_comparisons

    comparisons = compare_records(baseline, contender)
    if folder:
        records = [baseline] if baseline is contender else [baseline, contender]
        write_report(comparisons, records, folder)
    if as_json:
        click.echo(dump_comparisons(comparisons))
    else:
        console = Console()
        render_comparisons(comparisons, console, contender.document.unavailable)
        if folder:
            console.print(f"report, record and pictures: {folder}", soft_wrap=True)
    return judge_parities(comparisons)


def write_report(comparisons: Sequence[Comparison], records: List[RunRecord], folder: Path) -> None:
    """`comparison.json`, `report.md` and the pictures."""
    from ..record.run import write_atomically
    from ..report.contenders import dump_comparisons, render_report
    from ..report.pictures import render_pictures

    pictures = render_pictures(records, folder)
    write_atomically(folder / "comparison.json", dump_comparisons(comparisons) + "\n")
    report = render_report(comparisons, pictures, records[-1].document.unavailable)
    write_atomically(folder / "report.md", report)


def judge_parities(comparisons: Sequence[Comparison]) -> int:
    """The exit status of the worst comparison. Known and expected differences count as none."""
    statuses = {"different": EXIT_DIFFERENT, "inconclusive": EXIT_INCONCLUSIVE}
    unexplained = [one.parity for one in comparisons if not (one.ranks and one.ranks.expected)]
    return worst_status([EXIT_DONE, *(statuses.get(one, EXIT_DONE) for one in unexplained)])
