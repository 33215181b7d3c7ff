"""A run of one or more contenders: planned, executed, read back and reported.

The commands eager, graph, compare and versions share it.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import click

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
from ..measure.training_log import LOG_NAME
from ..measure.training_phase import CHECKPOINTS
from ..parity.result import CHECK_NAME
from ..parity.run import create_check_launcher
from ..plan.contenders import parse_contenders
from ..plan.modes import count_ranks
from ..plan.plan import Plan, create_plan, split_flags
from ..plan.resolve import complete_contenders, resolve_contenders
from ..record.checkpoint import LAST_NAME
from ..record.run import DOCUMENT_NAME, RunRecord, load_record, write_atomically
from ..report.before_after import compare_records
from ..report.blocks import Block, Text, format_markdown, print_blocks
from ..report.compare import build_report, build_run_report, conclude, dump_comparisons
from ..report.comparison import Comparison, summarize_contender
from ..report.page import PAGE_NAME
from ..report.screen.comparison import summarize_comparisons, summarize_run
from ..worker.environment import RuntimeResolver
from ..worker.process import check_contenders
from .console import VERDICTS, Console, print_detail, print_place
from .failures import go_on_without
from .options import SPEED_FLAGS, find_given, take_step
from .progress import ProgressBar
from .ranks import take_ranks

# of the folder of a training: what a line names, if it is there
_KEPT = {", record": DOCUMENT_NAME, ", log": LOG_NAME, ", checkpoints": CHECKPOINTS}


def run_one_mode(mode: str, flags: Dict[str, Any]) -> int:
    """Train one contender and print its summary; the exit status."""
    take_step(flags)
    record = train_one_mode(mode, flags)
    summary = summarize_contender(record, record.contender_names()[0])
    assert record.folder is not None
    if flags["as_json"]:
        click.echo(summary.model_dump_json(indent=1))
    else:
        whole, brief = partial(build_run_report, summary), partial(summarize_run, summary)
        print_detail(flags["detail"], whole, brief, list)
        kept = [word for word, name in _KEPT.items() if (record.folder / name).exists()]
        print_place(f"report{''.join(kept)}", record.folder)
    with go_on_without("the report", f"bench report {record.folder} makes it"):
        write_run_report(record, record.folder)
    return EXIT_DONE


def train_one_mode(mode: str, flags: Dict[str, Any]) -> RunRecord:
    """Train one contender, and keep its best and last checkpoint unless the flags say otherwise."""
    spec = mode if (flags["ranks"] or 1) == 1 else f"{mode},ranks={flags['ranks']}"
    kept = flags["keep_checkpoints"] or "best,last"
    return execute_specs(mode, [spec], {**flags, "keep_checkpoints": kept})


def write_run_report(record: RunRecord, folder: Path) -> Path:
    """`report.md`, `report.html` and the pictures of one contender; the folder."""
    from ..report.page.render import render_record
    from ..report.pictures import render_pictures

    build = partial(build_run_report, summarize_contender(record, record.contender_names()[0]))
    pictures = write_markdown(folder, build, partial(render_pictures, [record], folder))
    write_atomically(folder / PAGE_NAME, render_record(record, pictures))
    return folder


def write_markdown(
    folder: Path, build: Callable[..., List[Block]], draw: Callable[[], List[Path]]
) -> List[Path]:
    """`report.md` with pictures, which are returned; without them if the disk is too full."""
    write_atomically(folder / "report.md", format_markdown(build()))
    pictures = draw()
    write_atomically(folder / "report.md", format_markdown(build(pictures=pictures)))
    return pictures


def execute_specs(command: str, specs: List[str], flags: Dict[str, Any]) -> RunRecord:
    """Plan, run and read back. The record returned is the only source of the reports.

    Raises InputError for whatever cannot be run, before anything is started.
    """
    given = dict(flags)
    quiet = given.pop("detail", None) == VERDICTS
    ranks = take_ranks(given)
    request = ranks.request
    workload, measuring, side = split_flags(given)
    contenders = parse_contenders(specs, {**side, "ranks": request.ranks})
    if request.weak and not measuring.speed:
        raise InputError("--weak measures speed alone and --no-speed was given; leave one out")
    idle = find_given(SPEED_FLAGS) if flags.get("speed") is False else None
    if idle:
        raise InputError(f"{idle} steers the speed phase and --no-speed was given; leave one out")
    ranks.check(contenders)
    contenders, unavailable = resolve_contenders(contenders, request)
    readers = count_ranks(contenders)
    if readers > 1:
        workload["readers"] = readers
    with ProgressBar("images", quiet) as bar:
        plan = create_plan(workload, lambda done, total: bar("checking the data", done, total))
    _tell_fallback(plan)
    for note in plan.notes:
        click.echo(f"note: {note}", err=True)
    contenders = complete_contenders(contenders, plan.workload, request.weak, command == "compare")
    environments = RuntimeResolver()
    check_contenders(contenders, environments)
    document = create_document(command, plan, measuring, contenders, environments)
    document.unavailable = unavailable
    folder = Path(flags["out"] or Path("results") / document.run_id)
    launcher = ranks.open_launcher(plan, document, folder, contenders, environments)
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
            found = [one for one in compare_records(record, record) if one.check is not None]
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


def report_comparisons(
    baseline: RunRecord, contender: RunRecord, flags: Dict[str, Any], folder: Optional[Path]
) -> int:
    """Compare every contender of a record with the first of another, or of the same one."""
    comparisons = compare_records(baseline, contender)
    if flags["as_json"]:
        click.echo(dump_comparisons(comparisons))
    else:
        fits = print_comparisons(comparisons, contender.document.unavailable, flags["detail"])
        print_place("report, record and pictures", folder, [] if fits else shorten(comparisons))
    if folder:
        records = [baseline] if baseline is contender else [baseline, contender]
        again = " ".join(str(one.folder) for one in [baseline, contender])
        with go_on_without(f"the report in {folder}", f"bench compare {again} shows it again"):
            write_report(comparisons, records, folder)
    return judge_parities(comparisons)


def print_comparisons(
    comparisons: Sequence[Comparison], unavailable: Dict[str, str], detail: Optional[str]
) -> bool:
    """As much as `detail` asks for; returns as `print_detail`."""
    several = len(comparisons) > 1
    return print_detail(
        detail,
        partial(build_report, comparisons, unavailable),
        partial(summarize_comparisons, comparisons, unavailable),
        lambda: [Text([line for one in comparisons for line in conclude(one, several)])],
    )


def shorten(comparisons: Sequence[Comparison]) -> List[str]:
    """The verdicts without their reasons, for the end of a report longer than the screen."""
    several = len(comparisons) > 1
    return [line for one in comparisons for line in conclude(one, several, brief=True)]


def write_report(comparisons: Sequence[Comparison], records: List[RunRecord], folder: Path) -> None:
    """`comparison.json`, `report.md`, `report.html` and the pictures."""
    from ..report.page.render import render_page
    from ..report.pictures import render_pictures

    write_atomically(folder / "comparison.json", dump_comparisons(comparisons) + "\n")
    build = partial(build_report, comparisons, records[-1].document.unavailable)
    pictures = write_markdown(folder, build, partial(render_pictures, records, folder))
    write_atomically(folder / PAGE_NAME, render_page(records, build(), comparisons, pictures))


def judge_parities(comparisons: Sequence[Comparison]) -> int:
    """The exit status of the worst comparison. Known and expected differences count as none."""
    statuses = {"different": EXIT_DIFFERENT, "inconclusive": EXIT_INCONCLUSIVE}
    unexplained = [one for one in comparisons if not one.parity_expected]
    failed = any(one.check is not None and one.check.error is not None for one in unexplained)
    found = [statuses.get(one.parity, EXIT_DONE) for one in unexplained]
    return worst_status([EXIT_DONE, *found, *([EXIT_WORKER_FAILED] if failed else [])])
