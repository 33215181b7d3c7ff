"""A run of one or more contenders, also in several ranks: planned, executed and reported.

The commands eager, graph, compare and versions share it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import click

from ..distributed.starting import create_launcher
from ..errors import (
    EXIT_DIFFERENT,
    EXIT_DONE,
    EXIT_INCONCLUSIVE,
    EXIT_WORKER_FAILED,
    InputError,
    Interrupted,
    WorkerError,
    worst_status,
)
from ..measure.execution import create_document, execute_plan, execute_speed
from ..measure.parity_phase import PARITY_FOLDER, judge_training
from ..parity.result import CHECK_NAME
from ..parity.run import create_check_launcher
from ..plan.contenders import parse_contenders
from ..plan.modes import count_ranks
from ..plan.plan import Plan, create_plan, split_flags
from ..plan.resolve import RankRequest, complete_contenders, resolve_contenders
from ..record.checkpoint import LAST_NAME
from ..record.run import Document, RunRecord, load_record, write_atomically
from ..report.before_after import compare_record
from ..report.blocks import Block, Text, format_markdown, print_blocks
from ..report.compare import build_report, conclude, conclude_all, dump_comparisons
from ..report.comparison import Comparison
from ..report.page import PAGE_NAME
from ..report.screen import summarize_comparisons
from ..worker.environment import RuntimeResolver
from ..worker.messages import Launcher
from ..worker.process import check_contenders
from .console import VERDICTS, Console, ProgressBar, print_detail, print_place
from .failures import go_on_without
from .options import SPEED_FLAGS, find_given


def write_markdown(
    folder: Path, build: Callable[[Sequence[Path]], List[Block]], draw: Callable[[], List[Path]]
) -> List[Path]:
    """`report.md` with pictures, which are returned; without them if the disk is too full."""
    write_atomically(folder / "report.md", format_markdown(build(())))
    pictures = draw()
    write_atomically(folder / "report.md", format_markdown(build(pictures)))
    return pictures


def execute_specs(command: str, specs: List[str], flags: Dict[str, Any]) -> RunRecord:
    """Plan, run and read back. The record returned is the only source of the reports.

    Raises InputError for whatever cannot be run, before anything is started.
    """
    given = dict(flags)
    quiet = given.pop("detail", None) == VERDICTS
    request = take_ranks(given)
    workload, measuring, side = split_flags(given)
    contenders = parse_contenders(specs, {**side, "ranks": request.ranks})
    if request.weak and not measuring.speed:
        raise InputError("--weak measures speed alone and --no-speed was given; leave one out")
    idle = find_given(SPEED_FLAGS) if flags.get("speed") is False else None
    if idle:
        raise InputError(f"{idle} steers the speed phase and --no-speed was given; leave one out")
    contenders, unavailable = resolve_contenders(contenders, request)
    readers = count_ranks(contenders)
    if readers > 1:
        workload["readers"] = readers
    with ProgressBar("images", quiet) as bar:
        plan = create_plan(workload, partial(bar, "checking the data"))
    _tell_fallback(plan)
    for note in plan.notes:
        click.echo(f"note: {note}", err=True)
    contenders = complete_contenders(contenders, plan.workload, request.weak, command == "compare")
    environments = RuntimeResolver()
    check_contenders(contenders, environments)
    document = create_document(command, plan, measuring, contenders, environments)
    document.unavailable = unavailable
    folder = Path(flags["out"] or Path("results") / document.run_id)
    launcher = open_launcher(request, plan, document, folder, environments)
    told = told_parity(folder, flags["as_json"])
    with told, launcher as launch, ProgressBar("steps", quiet) as bar:
        if request.weak:
            return execute_speed(document, folder, launch, plan.prepare_dataset, bar.seconds)
        check = create_check_launcher(folder / PARITY_FOLDER, environments)
        judge = partial(judge_training, launch=check, observe=partial(bar, unit="turns"))
        return execute_plan(plan, document, folder, launch, bar, bar.seconds, judge, bar.tell)


@contextmanager
def told_parity(folder: Path, as_json: bool) -> Iterator[None]:
    """Print the parities that a run in `folder` has reached where it fails or is ended after them.

    Not beside JSON.
    """
    try:
        yield
    except (WorkerError, Interrupted):
        if not as_json and (folder / CHECK_NAME).is_file():
            record = load_record(folder)
            found = [one for one in compare_record(record) if one.check is not None]
            print_blocks([Text([conclude(one, len(found) > 1)[0] for one in found])], Console())
        raise


def _tell_fallback(plan: Plan) -> None:
    """Say so where a run folder is resumed from another checkpoint than its last."""
    found = plan.resumed_from
    if found and Path(str(plan.workload.resume)) != found and found.name != LAST_NAME:
        click.echo(
            f"{LAST_NAME} of {plan.workload.resume} is not whole or not the newest; the run goes "
            f"on from {found}, with {plan.start_epoch} epochs done",
            err=True,
        )


def report_comparisons(record: RunRecord, flags: Dict[str, Any], folder: Optional[Path]) -> int:
    """Compare every contender of a record with its first; the exit status."""
    comparisons = compare_record(record)
    if flags["as_json"]:
        click.echo(dump_comparisons(comparisons))
    else:
        fits = print_comparisons(comparisons, record.document.unavailable, flags["detail"])
        print_place(
            "report, record and pictures", folder, [] if fits else conclude_all(comparisons, True)
        )
    if folder:
        again = f"bench compare {record.folder} {record.folder} shows it again"
        with go_on_without(f"the report in {folder}", again):
            write_comparisons(comparisons, record, folder)
    return judge_parities(comparisons)


def print_comparisons(
    comparisons: Sequence[Comparison], unavailable: Dict[str, str], detail: Optional[str]
) -> bool:
    """As much as `detail` asks for; returns as `print_detail`."""
    return print_detail(
        detail,
        build_report(comparisons, unavailable),
        summarize_comparisons(comparisons, unavailable),
        [Text(conclude_all(comparisons))],
    )


def write_comparisons(comparisons: Sequence[Comparison], record: RunRecord, folder: Path) -> None:
    """The report of these comparisons, which are of the record."""
    build = partial(build_report, comparisons, record.document.unavailable)
    write_report(folder, [record], build, comparisons, dump_comparisons(comparisons))


def write_report(
    folder: Path,
    records: List[RunRecord],
    build: Callable[[Sequence[Path]], List[Block]],
    comparisons: Sequence[Comparison] = (),
    dumped: Optional[str] = None,
) -> None:
    """`report.md`, `report.html` and the pictures, and `comparison.json` of what is `dumped`.

    `build` gives the report with the pictures at these paths.
    """
    from ..report.page.render import render_page
    from ..report.pictures import render_pictures

    if dumped is not None:
        write_atomically(folder / "comparison.json", f"{dumped}\n")
    pictures = write_markdown(folder, build, partial(render_pictures, records, folder))
    page = render_page(records, build(()), comparisons, pictures)
    write_atomically(folder / PAGE_NAME, page)


def judge_parities(comparisons: Sequence[Comparison]) -> int:
    """The exit status of the worst comparison. Known and expected differences count as none."""
    statuses = {"different": EXIT_DIFFERENT, "inconclusive": EXIT_INCONCLUSIVE}
    unexplained = [one for one in comparisons if not one.parity_expected]
    failed = any(one.check is not None and one.check.error is not None for one in unexplained)
    found = [statuses.get(one.parity, EXIT_DONE) for one in unexplained]
    return worst_status([EXIT_DONE, *found, *([EXIT_WORKER_FAILED] if failed else [])])


def take_ranks(flags: Dict[str, Any]) -> RankRequest:
    """Take these flags out of the others. A command without them asks for one process."""
    cluster, placement = flags.pop("cluster", None), flags.pop("placement", None)
    if placement is not None and cluster is None:
        raise InputError(
            f"--placement {placement} was given without --cluster; one machine has one place"
        )
    return RankRequest(
        ranks=flags.pop("ranks", None),
        oversubscribe=flags.pop("oversubscribe", False),
        weak=flags.pop("weak", False),
        usable_cores=None if cluster else len(os.sched_getaffinity(0)),
        cluster=cluster,
        placement=placement or "spread",
    )


@contextmanager
def open_launcher(
    request: RankRequest,
    plan: Plan,
    document: Document,
    folder: Path,
    environments: RuntimeResolver,
) -> Iterator[Launcher]:
    """Starts the contenders of one process here, and ranks here or on the cluster."""
    if request.cluster is None:
        yield create_launcher(folder, environments)
        return
    from ..distributed.cluster import Cluster

    ranks, show = count_ranks(document.contenders), partial(click.echo, err=True)
    with Cluster(request.cluster, ranks, request.placement, show) as cluster:
        document.environment_start["nodes"] = [
            {"rank": rank, "address": node.address, **node.machine}
            for rank, node in enumerate(cluster.nodes)
        ]
        yield create_launcher(folder, environments, cluster=cluster, plan=plan)
