"""`bench eager`, `bench graph` and `bench compare`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import click

from oneflow_bench.cli.options import find_given_flag, run_options, speed_options
from oneflow_bench.cli.progress import ProgressBar
from oneflow_bench.errors import EXIT_DIFFERENT, EXIT_DONE, EXIT_INCONCLUSIVE, InputError

if TYPE_CHECKING:
    from oneflow_bench.record import RunRecord


@click.command()
@run_options
def eager(**flags: Any) -> int:
    """Train and validate in eager mode; a checkpoint per epoch and the best one are kept.

    \b
    bench eager
    bench eager --model resnet18 --data synthetic --image-size 64 --steps-per-epoch 5
    """
    return _run_single("eager", flags)


@click.command()
@run_options
def graph(**flags: Any) -> int:
    """Train and validate as compiled graphs; a checkpoint per epoch and the best one are kept.

    \b
    bench graph
    bench graph --feed graph --epochs 1
    """
    return _run_single("graph", flags)


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN RUN]")
@run_options
@speed_options
def compare(runs: Tuple[str, ...], **flags: Any) -> int:
    """Run eager and graph in turns on the same batches from the same weights.

    The training gives curves, accuracy and parity. For the speed verdict fresh processes of both
    take turns afterwards, until it is known or the --budget is used up.

    With two stored RUNs nothing is run: they are compared as they are, and the speed of runs that
    did not take turns is reported with that caveat. Exit status 1 when the modes differ, 3 when
    that could not be told.

    \b
    bench compare
    bench compare --model alexnet --data synthetic --batch-size 16 --num-classes 1000
    bench compare --budget 120 --until 3%
    bench compare results/RUN1 results/RUN2
    """
    if runs:
        _refuse_flags_with_runs(runs)
        return _compare_stored(Path(runs[0]), Path(runs[1]), flags)
    record = _execute("compare", ["eager", "graph"], flags)
    return _report_comparison(record, "eager", record, "graph", flags["as_json"], record.folder)


def _refuse_flags_with_runs(runs: Tuple[str, ...]) -> None:
    if len(runs) != 2:
        raise InputError(f"bench compare takes two stored runs or none, and {len(runs)} were given")
    flag = find_given_flag(("out", "as_json"))
    if flag:
        raise InputError(f"{flag} steers a new run and two stored runs were given; leave one out")


def _compare_stored(left: Path, right: Path, flags: Dict[str, Any]) -> int:
    from oneflow_bench.record import load_record

    baseline, contender = load_record(left), load_record(right)
    baseline_name = baseline.contender_names()[0]
    contender_name = contender.contender_names()[-1]
    folder = None
    if flags["out"]:
        folder = Path(flags["out"])
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise InputError(
                f"--out {folder} cannot be created ({error.strerror}); give a new folder"
            ) from None
    return _report_comparison(
        baseline, baseline_name, contender, contender_name, flags["as_json"], folder
    )


def _run_single(mode: str, flags: Dict[str, Any]) -> int:
    from rich.console import Console

    from oneflow_bench.comparison import summarize_contender
    from oneflow_bench.plot import render_pictures
    from oneflow_bench.report import render_run

    record = _execute(mode, [mode], flags, keep_checkpoints=True)
    summary = summarize_contender(record, mode)
    assert record.folder is not None
    render_pictures([record], record.folder)
    if flags["as_json"]:
        click.echo(summary.model_dump_json(indent=1))
    else:
        console = Console()
        render_run(summary, console)
        console.print(f"record, checkpoints and pictures: {record.folder}", soft_wrap=True)
    return EXIT_DONE


def _execute(
    command: str, modes: List[str], flags: Dict[str, Any], keep_checkpoints: bool = False
) -> RunRecord:
    """Plan, run and read back: what is reported is what the record says."""
    from oneflow_bench.config import Contender
    from oneflow_bench.execution import execute_plan
    from oneflow_bench.launch import create_launcher
    from oneflow_bench.plan import create_document, create_plan, split_flags
    from oneflow_bench.recipe_checks import validated
    from oneflow_bench.runtime import RuntimeResolver

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    workload, measuring, side = split_flags({**flags, "keep_checkpoints": keep_checkpoints})
    with ProgressBar("images") as bar:
        plan = create_plan(workload, lambda done, total: bar("checking the data", done, total))
    environments = RuntimeResolver()
    document = create_document(
        command,
        plan,
        measuring,
        [validated(Contender, {"name": mode, "mode": mode, **side}) for mode in modes],
        environments,
    )
    folder = Path(flags["out"] or Path("results") / document.run_id)
    with ProgressBar("steps") as bar:
        launch = create_launcher(folder, environments)
        return execute_plan(plan, document, folder, launch, bar, bar.seconds)


def _report_comparison(
    baseline: RunRecord,
    baseline_name: str,
    contender: RunRecord,
    contender_name: str,
    as_json: bool,
    folder: Optional[Path],
) -> int:
    from rich.console import Console

    from oneflow_bench.comparison import compare_contenders
    from oneflow_bench.record import write_atomically
    from oneflow_bench.report import render_markdown, render_terminal

    comparison = compare_contenders(baseline, baseline_name, contender, contender_name)
    if folder:
        from oneflow_bench.plot import render_pictures

        records = [baseline] if baseline is contender else [baseline, contender]
        pictures = render_pictures(records, folder)
        write_atomically(folder / "comparison.json", comparison.model_dump_json(indent=1) + "\n")
        write_atomically(folder / "report.md", render_markdown(comparison, pictures))
    if as_json:
        click.echo(comparison.model_dump_json(indent=1))
    else:
        console = Console()
        render_terminal(comparison, console)
        if folder:
            console.print(f"report, record and pictures: {folder}", soft_wrap=True)
    return _exit_status(comparison.parity)


def _exit_status(parity: str) -> int:
    return {"different": EXIT_DIFFERENT, "inconclusive": EXIT_INCONCLUSIVE}.get(parity, EXIT_DONE)
