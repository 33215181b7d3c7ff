"""`bench eager`, `bench graph` and `bench compare`."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

import click

from ..errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_INCONCLUSIVE, InputError, worst_status
from .options import find_given_flag, run_options, speed_options
from .progress import ProgressBar
from .rank_options import check_nodes, open_launcher, rank_options, take_rank_flags, weak_option

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from ..record.run import Document, RunRecord
    from ..report.comparison import Comparison
    from ..worker.messages import Launcher


@click.command()
@run_options
@rank_options
def eager(**flags: Any) -> int:
    """Train and validate in eager mode; a checkpoint per epoch and the best one are kept.

    \b
    bench eager
    bench eager --model resnet18 --data synthetic --image-size 64 --steps-per-epoch 5
    bench eager --ranks 2
    """
    return _run_single("eager", flags)


@click.command()
@run_options
@rank_options
def graph(**flags: Any) -> int:
    """Train and validate as compiled graphs; a checkpoint per epoch and the best one are kept.

    \b
    bench graph
    bench graph --feed graph --epochs 1
    """
    return _run_single("graph", flags)


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN RUN]")
@click.option("--baseline", default="eager", metavar="SPEC", show_default=True,
              help="What the contenders are set against: MODE[,KEY=VALUE]...")  # fmt: skip
@click.option("--contender", "contenders", multiple=True, metavar="SPEC",
              help="Such as graph,runtime=stock or graph,allow_fuse_add_to_output=true; may be "
              "given several times. Default: graph.")  # fmt: skip
@run_options
@rank_options
@weak_option
@speed_options
def compare(runs: Tuple[str, ...], **flags: Any) -> int:
    """Run eager and graph in turns on the same batches from the same weights.

    The training gives curves, accuracy and parity. For the speed verdict fresh processes of both
    take turns afterwards, until it is known or the --budget is used up.

    Other contenders, and any number of them, are set against a baseline by --contender and
    --baseline: their mode, and whatever else is not as the flags say (runtime, device, dtype,
    python, env.NAME, switches of nn.Graph's config). One that begins with a strategy (ddp,
    eager-global, graph-dp, graph-tp, graph-pp, graph-zero) trains in --ranks processes.

    With two stored RUNs nothing is run: they are compared as they are, and the speed of runs that
    did not take turns is reported with that caveat. Exit status 1 when the modes differ, 3 when
    that could not be told.

    \b
    bench compare
    bench compare --baseline eager,runtime=stock --contender eager --contender graph
    bench compare --baseline graph --contender graph,allow_fuse_add_to_output=true
    bench compare --model alexnet --data synthetic --batch-size 16 --num-classes 1000
    bench compare --budget 120 --until 3%
    bench compare --ranks 2 --contender ddp --contender graph-dp
    bench compare results/RUN1 results/RUN2
    """
    if runs:
        _refuse_flags_with_runs(runs)
        return _compare_stored(Path(runs[0]), Path(runs[1]), flags)
    usual = ["graph"] if (flags["ranks"] or 1) == 1 else ["ddp", "graph-dp"]
    specs = [flags.pop("baseline"), *(flags.pop("contenders") or usual)]
    record = execute_specs("compare", specs, flags)
    return report_comparisons(record, record, flags["as_json"], record.folder)


def _refuse_flags_with_runs(runs: Tuple[str, ...]) -> None:
    if len(runs) != 2:
        raise InputError(f"bench compare takes two stored runs or none, and {len(runs)} were given")
    flag = find_given_flag(("out", "as_json"))
    if flag:
        raise InputError(f"{flag} steers a new run and two stored runs were given; leave one out")


def _compare_stored(left: Path, right: Path, flags: Dict[str, Any]) -> int:
    from ..record.run import load_record

    baseline = load_record(left)
    again = left.resolve() == right.resolve()  # one run, whose contenders took turns
    contender = baseline if again else load_record(right)
    folder = None
    if flags["out"]:
        folder = Path(flags["out"])
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise InputError(
                f"--out {folder} cannot be created ({error.strerror}); give a new folder"
            ) from None
    return report_comparisons(baseline, contender, flags["as_json"], folder)


def _run_single(mode: str, flags: Dict[str, Any]) -> int:
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
    """Plan, run and read back: what is reported is what the record says."""
    from ..measure.execution import create_document
    from ..plan.contenders import parse_contenders
    from ..plan.modes import count_ranks
    from ..plan.plan import create_plan, split_flags
    from ..plan.resolve import complete_contenders, resolve_contenders
    from ..worker.environment import RuntimeResolver
    from ..worker.launch import check_contenders, create_launcher

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
    """Set every contender of a record against the first of another, or of the same one."""
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
    """The exit status of comparisons: that of the worst; what is known and expected is no fault."""
    statuses = {"different": EXIT_DIFFERENT, "inconclusive": EXIT_INCONCLUSIVE}
    unexplained = [one.parity for one in comparisons if not one.parity_expected]
    return worst_status([EXIT_DONE, *(statuses.get(one, EXIT_DONE) for one in unexplained)])
