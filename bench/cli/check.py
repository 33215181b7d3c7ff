"""`bench check`: is the graph the same model, and are its results those of the baseline?"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple

import click

from ..errors import InputError, WorkerError, worst_status
from ..plan.check_plan import CHECK_DEFAULTS, CHECK_IMAGE_SIZE
from .options import (
    HeadedCommand,
    decorated,
    field_options,
    find_given_flag,
    workload_options,
)
from .progress import ProgressBar

if TYPE_CHECKING:
    from ..config import Measuring, Workload
    from ..parity.baseline import Baseline
    from ..parity.gate import Judged
    from ..parity.result import CheckDocument, ModelCheck, Speedup
    from ..parity.run import CheckModel, Observe
    from ..plan.plan import Plan

SPEED_FOLDER = "speed"  # in the model's folder: a record as bench compare writes it
_OUTPUT = ("from_run", "baseline", "junit", "markdown", "annotations", "as_json")
_STEERING = ("models", "out", "timeout_s", "speed", "budget_s")

_SHOWN = {
    **CHECK_DEFAULTS,
    "image_size": f"{CHECK_IMAGE_SIZE['imagenet']}, {CHECK_IMAGE_SIZE['cifar']} for models made "
    "for that, or the model's smallest",
}
_HELP = {
    "model": "One model: a name of `bench models`, or package.module:factory.",
    "out": "Run folder to create. Default: results/<run-id>.",
    "as_json": "Print everything as JSON.",
}
_CHECK_OPTIONS = [
    click.option("--models", default=None, metavar="NAMES", help="Models, with wildcards: "
                 "lenet,'resnet*'. Default: those with a baseline, or alexnet_cifar."),
    click.option("--from", "from_run", default=None, metavar="RUN",
                 help="Take a stored check (its folder, or check.json) and run nothing."),
]  # fmt: skip


def check_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the flags that choose the models and the workload, or a stored check instead."""
    command = field_options(["speed", "budget_s"])(workload_options(_HELP, _SHOWN)(command))
    return decorated(*_CHECK_OPTIONS)(command)


@click.command(cls=HeadedCommand)
@click.option(
    "--annotations",
    type=click.Choice(["github", "none"]),
    default=None,
    help="Workflow commands for GitHub. Default: github if GITHUB_ACTIONS is true.",
)
@click.option("--markdown", default=None, metavar="FILE", help="Write the report as Markdown.")
@click.option("--junit", default=None, metavar="FILE", help="Write JUnit XML for a CI server.")
@click.option(
    "--baseline",
    default=None,
    metavar="PATH",
    help="Compare with stored baselines: a folder, or one model's file.",
)
@check_options
def check(**flags: Any) -> int:
    """Find the first tensor at which eager and graph mode differ, level by level.

    With --baseline, also compare losses, accuracy, digests, graph operators, compile time and
    memory with the stored values; with --speed the speedup too.

    Exit status of many models: 1 (different or worse) before 4 (a worker failed) before
    3 (inconclusive) before 0. Bad input is 2, before anything is run.

    \b
    bench check --model resnet18
    bench check --models 'vgg*,lenet' --baseline results/baselines
    bench check --from results/RUN --junit check.xml --markdown check.md
    """  # fmt: skip
    for name in ("junit", "markdown"):
        _require_parent(name, flags[name])
    from ..parity.baseline import find_baselines, list_baselines
    from ..parity.gate import judge_checks

    baselines: List[Baseline] = []
    place = Path(flags["baseline"]) if flags["baseline"] is not None else None

    def load_baselines(workloads: Sequence[Workload]) -> None:
        if place is not None:
            baselines.extend(find_baselines(place, workloads))

    document, folder = obtain_check(
        flags, _OUTPUT, lambda: list_baselines(place) if place else [], load_baselines
    )
    return _report(document, judge_checks(document, baselines), flags, folder)


def _require_parent(name: str, path: Optional[str]) -> None:
    """Refuse a report that cannot be written before minutes are spent."""
    if path is not None and (not Path(path).parent.is_dir() or Path(path).is_dir()):
        raise InputError(f"--{name} {path} cannot be written; give a file in a folder that exists")


def obtain_check(
    flags: Dict[str, Any],
    allowed: Sequence[str],
    list_stored: Callable[[], Sequence[str]],
    prepare: Callable[[Sequence[Workload]], None],
) -> Tuple[CheckDocument, Optional[Path]]:
    """The check that the flags ask for, and its folder if it is a new one.

    A stored check allows only the flags in `allowed`. `list_stored` gives the models that are
    checked if the flags name none; `prepare` may refuse workloads before anything is run.
    """
    if flags["from_run"] is None:
        plans = _plan_checks(flags, list_stored)
        prepare([plan.workload for plan in plans])
        return _run_checks(plans, flags)
    from ..parity.result import load_check

    flag = find_given_flag(allowed)
    if flag:
        raise InputError(f"{flag} steers a new run and --from gives a stored one; leave one out")
    document = load_check(Path(flags["from_run"]))
    prepare([found.workload for found in document.checks])
    return document, None


def _plan_checks(flags: Dict[str, Any], list_stored: Callable[[], Sequence[str]]) -> List[Plan]:
    """A plan for each model that the flags name; refuses whatever cannot be run."""
    if flags["budget_s"] is not None and not flags["speed"]:
        raise InputError("--budget limits the measuring of --speed; give both or neither")
    from ..plan.check_plan import choose_models, create_check_plans

    ours = (*_OUTPUT, *_STEERING)
    workload = {name: value for name, value in flags.items() if name not in ours}
    names = choose_models(workload, flags["models"], list_stored)
    with ProgressBar("images") as bar:
        return create_check_plans(
            names, workload, lambda done, total: bar("checking the data", done, total)
        )


def _run_checks(plans: Sequence[Plan], flags: Dict[str, Any]) -> Tuple[CheckDocument, Path]:
    """Check all plans; the document and the run's folder."""
    from ..config import Measuring
    from ..parity.run import check_model, create_check_document, run_checks
    from ..record.run import create_run_folder

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    document = create_check_document(plans)
    folder = Path(flags["out"] or Path("results") / document.run_id)
    create_run_folder(folder)
    given = {name: flags[name] for name in ("speed", "budget_s", "timeout_s")}
    measuring = Measuring(**{name: value for name, value in given.items() if value is not None})
    checker: CheckModel = add_speed(check_model, measuring) if measuring.speed else check_model
    with ProgressBar("") as bar:
        run_checks(plans, document, folder, measuring.timeout_s, bar, checker)
    return document, folder


def add_speed(check_model: CheckModel, measuring: Measuring) -> CheckModel:
    """A `check_model` that measures the speed after each check that came to its end."""

    def check(plan: Plan, folder: Path, timeout_s: float, observe: Observe) -> ModelCheck:
        found = check_model(plan, folder, timeout_s, observe)
        found.speedup = measure_speedup(plan, folder, measuring, observe)
        return found

    return check


def measure_speedup(
    plan: Plan,
    folder: Path,
    measuring: Measuring,
    observe: Observe,
    **replaced: Any,
) -> Speedup:
    """Eager time over graph time of the plan's train step, within `measuring.budget_s` seconds.

    Fresh processes of both modes are measured on the workload of the check, and their record goes
    to `folder`/speed. A failed worker is a result too, with its message. `replaced` may hold the
    `launch` and the `clock` of `execute_speed`.
    """
    from datetime import datetime, timezone

    from ..config import Contender
    from ..measure.execution import execute_speed
    from ..parity.result import Speedup
    from ..record.run import Document
    from ..verdict.summary import summarize_record_speed
    from ..worker.environment import RuntimeResolver
    from ..worker.launch import create_launcher

    place = folder / SPEED_FOLDER
    document = Document(
        run_id=f"{folder.name}-speed",
        command="compare",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        workload=plan.workload,
        measuring=measuring,
        contenders=[Contender(name=mode, mode=mode) for mode in ("eager", "graph")],
        train_samples=plan.train_samples,
        val_samples=plan.val_samples,
        steps_per_epoch=plan.steps_per_epoch,
    )
    options = {"launch": create_launcher(place, RuntimeResolver()), **replaced}
    error: Optional[str] = "no block"
    try:
        record = execute_speed(
            document, place, prepare_dataset=plan.prepare_dataset, observe=observe, **options
        )
        summary = summarize_record_speed(record, "eager", "graph")
    except WorkerError:
        summary, error = None, document.error
    if summary is None:
        return Speedup(verdict="inconclusive", reason="the measurement failed", error=error)
    judgement = summary.judgement
    return Speedup(
        ratio=judgement.speedup.ratio,
        low=judgement.speedup.low,
        high=judgement.speedup.high,
        verdict=judgement.verdict,
        reason=judgement.reason,
        control_verdict=judgement.control_verdict,
        replicates=judgement.replicates,
        duration_s=summary.duration_s,
    )


def _report(
    document: CheckDocument,
    judged: Sequence[Judged],
    flags: Dict[str, Any],
    folder: Optional[Path],
) -> int:
    """Write and print the report; the exit status."""
    from rich.console import Console

    from ..record.run import save_text
    from ..report.blocks import format_markdown, print_blocks
    from ..report.check import report_check
    from ..report.ci import create_result, format_annotations, format_junit

    blocks = report_check(document, judged)
    markdown = format_markdown(blocks)
    for path, text in (
        (flags["markdown"], markdown),
        (flags["junit"], format_junit(document, judged)),
        (folder and folder / "report.md", markdown),
    ):
        if path is not None:
            save_text(Path(path), text, "give a file in a folder that you may write to")
    if flags["as_json"]:
        click.echo(json.dumps(create_result(document, judged), indent=1))
    else:
        print_blocks(blocks, Console())
        if folder is not None:
            click.echo(f"check and report: {folder}")
    on_github = "github" if os.environ.get("GITHUB_ACTIONS") == "true" else "none"
    if (flags["annotations"] or on_github) == "github":
        for line in format_annotations(judged):
            click.echo(line, err=flags["as_json"])
    return worst_status([one.exit_status for one in judged])
