"""A run of one or more contenders: planned, executed, read back and reported.

The commands eager, graph, compare and versions share it.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import click
from rich.console import Console

from ..distributed.machines.coordinator import coordinate_run
from ..distributed.machines.join_run import join_run
from ..distributed.machines.nodes import Nodes, check_contenders_of_nodes, parse_nodes
from ..distributed.starting import create_launcher
from ..errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_INCONCLUSIVE, InputError, worst_status
from ..measure.execution import create_document, execute_plan, execute_speed
from ..plan.contenders import parse_contenders
from ..plan.modes import count_ranks
from ..plan.plan import Plan, create_plan, split_flags
from ..plan.resolve import RankRequest, complete_contenders, resolve_contenders
from ..record.run import Document, RunRecord, write_atomically
from ..report.blocks import format_markdown, print_blocks
from ..report.compare import build_report, build_run_report, dump_comparisons
from ..report.comparison import Comparison, compare_records, summarize_contender
from ..worker.environment import RuntimeResolver
from ..worker.messages import Launcher
from ..worker.process import check_contenders
from .progress import ProgressBar

_MACHINES = ("nodes", "node_rank", "master", "token")  # flags that say on which machines to run


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
    nodes = parse_nodes(flags)
    given = {name: value for name, value in flags.items() if name not in _MACHINES}
    request = RankRequest(
        ranks=given.pop("ranks", None),
        oversubscribe=given.pop("oversubscribe", False),
        weak=given.pop("weak", False),
        machines=nodes.nodes,
    )
    workload, measuring, side = split_flags({**given, "keep_checkpoints": keep_checkpoints})
    contenders = parse_contenders(specs, {**side, "ranks": request.ranks})
    if request.weak and not measuring.speed:
        raise InputError("--weak measures speed alone and --no-speed was given; leave one out")
    check_contenders_of_nodes(nodes, contenders)
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
    launcher = _open_launcher(nodes, plan, document, folder, environments)
    with launcher as launch, ProgressBar("steps") as bar:
        if request.weak:
            return execute_speed(document, folder, launch, plan.prepare_dataset, bar.seconds)
        return execute_plan(plan, document, folder, launch, bar, bar.seconds)


@contextmanager
def _open_launcher(
    nodes: Nodes, plan: Plan, document: Document, folder: Path, environments: RuntimeResolver
) -> Iterator[Launcher]:
    """How the contenders are started, here and on the other machines of the run.

    A machine that is not machine 0 does its part and leaves the command: the record and the report
    are machine 0's.
    """
    show = partial(click.echo, err=True)
    if nodes.node_rank > 0:
        own = folder.with_name(f"{folder.name}-node-{nodes.node_rank}")
        join_run(nodes, plan, document, own, environments, show)
        raise click.exceptions.Exit(EXIT_DONE)
    with coordinate_run(nodes, document, folder, show) as others:
        yield create_launcher(folder, environments, nodes=others)


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
    unexplained = [one.parity for one in comparisons if not one.parity_expected]
    return worst_status([EXIT_DONE, *(statuses.get(one, EXIT_DONE) for one in unexplained)])
