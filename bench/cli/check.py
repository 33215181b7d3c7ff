"""`bench check`: is the graph the same model, and are its results those of the baseline?"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import click

from ..config import Contender, Measuring, Workload
from ..errors import EXIT_BAD_INPUT, InputError, WorkerError, worst_status
from ..measure.execution import create_document, execute_speed
from ..parity import run as parity
from ..parity.baseline import find_baseline, list_baselines
from ..parity.gate import Judged, judge_checks
from ..parity.result import CheckDocument, ModelCheck, Speedup, load_check
from ..plan.check_plan import CHECK_DEFAULTS, CHECK_IMAGE_SIZE, choose_models, create_check_plans
from ..plan.fields import SETTINGS
from ..plan.plan import Plan
from ..record.run import create_run_id, save_text
from ..report.blocks import Text, format_markdown
from ..report.check import conclude, report_check
from ..report.ci import create_result, format_annotations, format_junit
from ..report.screen import summarize_checks
from ..verdict.summary import summarize_record_speed
from ..worker.environment import RuntimeResolver
from ..worker.process import create_launcher
from .console import (
    VERDICTS,
    ProgressBar,
    detail_options,
    fresh_run_folder,
    print_detail,
    print_place,
)
from .options import (
    HeadedCommand,
    decorated,
    field_options,
    find_given,
    find_given_flag,
    step_argument,
    take_step,
    workload_options,
)
from .value_types import RunFolder

# gives the check, and its folder if it is a new one
RunCheck = Callable[[], Tuple[CheckDocument, Optional[Path]]]

SPEED_FOLDER = "speed"  # in the model's folder: a record as bench compare writes it
_OUTPUT = ("from_run", "baseline", "junit", "markdown", "annotations", "as_json", "detail")
_OF_PARITY = ("from_run", "baseline", "junit", "markdown", "annotations", "speed", "budget_s")
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
    click.option("--models", metavar="NAMES", help="Models, with wildcards: "
                 "lenet,'resnet*'. Default: those with a baseline, or alexnet_cifar."),
    click.option("--from", "from_run", metavar="RUN",
                 type=RunFolder("check"),
                 help="Take a stored check (its folder, or check.json) and run nothing."),
]  # fmt: skip


def check_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the flags that choose the models and the workload, or a stored check instead."""
    command = field_options(["speed", "budget_s"])(workload_options(_HELP, _SHOWN)(command))
    return decorated(*_CHECK_OPTIONS)(command)


@click.command(cls=HeadedCommand)
@step_argument
@click.option(
    "--annotations",
    type=click.Choice(["github", "none"]),
    help="Workflow commands for GitHub. Default: github if GITHUB_ACTIONS is true.",
)
@click.option("--markdown", metavar="FILE", help="Write the report as Markdown.")
@click.option("--junit", metavar="FILE", help="Write JUnit XML for a CI server.")
@click.option(
    "--baseline",
    metavar="PATH",
    help="Compare with stored baselines: a folder, or one model's file.",
)
@click.option(
    "--health", is_flag=True, help="Judge whether the models can be trained, in place of parity."
)
@check_options
@detail_options
def check(**flags: Any) -> int:
    """Find the first tensor at which eager and graph mode differ, level by level.

    With --baseline, also compare losses, accuracy, digests, graph operators, compile time and
    memory with the stored values; with --speed the speedup too.

    Exit status of many models: 1 (different or worse) before 4 (a worker failed) before
    3 (inconclusive) before 0. Bad input is 2, before anything is run.

    MODULE:STEP is a TrainingStep of your own (docs/your-own-step.md).

    \b
    bench check --model resnet18
    bench check my_file:gpt
    bench check --models 'vgg*,lenet' --baseline results/baselines
    bench check --from results/RUN --junit check.xml --markdown check.md
    bench check --health --model resnet18
    """  # fmt: skip
    take_step(flags)
    if flags.pop("health"):
        return _check_health(flags)
    for name in ("junit", "markdown"):  # refused before minutes are spent
        path = Path("none" if flags[name] is None else flags[name])
        if path.is_dir() or not path.parent.is_dir():
            raise InputError(
                f"--{name} {path} cannot be written; give a file in a folder that exists"
            )
    place = Path(flags["baseline"]) if flags["baseline"] is not None else None
    workloads, run = prepare_check(flags, _OUTPUT, lambda: list_baselines(place) if place else [])
    baselines = [find_baseline(place, workload) for workload in workloads] if place else []
    document, folder = run()
    return _report(document, judge_checks(document, baselines), flags, folder)


def _check_health(flags: Dict[str, Any]) -> int:
    """Examine the models that the flags name, and report; the exit status."""
    from ..tools.health import run as health

    flag = find_given(_OF_PARITY)
    if flag:
        raise InputError(f"{flag} is about parity and --health judges none; leave one out")
    plans = _plan_checks(flags, list, {**CHECK_DEFAULTS, **health.HEALTH_DEFAULTS})
    subject = plans[0].workload.model if len(plans) == 1 else f"{len(plans)}-models"
    folder = Path(flags["out"] or Path("results") / create_run_id("health", subject))
    timeout_s = flags["timeout_s"] or SETTINGS["timeout_s"].default
    with fresh_run_folder(folder), ProgressBar("", flags["detail"] == VERDICTS) as bar:
        document = health.examine_models(plans, folder, timeout_s, bar)
    blocks = health.report_health(document)
    save_text(folder / "report.md", format_markdown(blocks), "give a folder you may write to")
    if flags["as_json"]:
        click.echo(document.model_dump_json(indent=1))
    else:
        print_detail(flags["detail"], blocks, blocks, blocks[:2])
        print_place("health and report", folder)
    return document.exit_status


def prepare_check(
    flags: Dict[str, Any], allowed: Sequence[str], list_stored: Callable[[], Sequence[str]]
) -> Tuple[List[Workload], RunCheck]:
    """The workloads of the check that the flags ask for, and how to get it.

    A stored check allows only the flags in `allowed`. `list_stored` gives the models that are
    checked if the flags name none.
    """
    if flags["from_run"] is None:
        plans = _plan_checks(flags, list_stored)
        return [plan.workload for plan in plans], partial(_run_checks, plans, flags)
    flag = find_given_flag(allowed)
    if flag:
        raise InputError(f"{flag} steers a new run and --from gives a stored one; leave one out")
    document = load_check(Path(flags["from_run"]))
    return [found.workload for found in document.checks], lambda: (document, None)


def _plan_checks(
    flags: Dict[str, Any],
    list_stored: Callable[[], Sequence[str]],
    defaults: Mapping[str, Any] = CHECK_DEFAULTS,
) -> List[Plan]:
    """A plan for each model that the flags name; refuses whatever cannot be run."""
    if flags["budget_s"] is not None and not flags["speed"]:
        raise InputError("--budget limits the measuring of --speed; give both or neither")
    ours = (*_OUTPUT, *_STEERING)
    workload = {name: value for name, value in flags.items() if name not in ours}
    names = choose_models(workload, flags["models"], list_stored)
    quiet = flags.get("detail") == VERDICTS
    with ProgressBar("images", quiet) as bar:
        return create_check_plans(names, workload, partial(bar, "checking the data"), defaults)


def _run_checks(plans: Sequence[Plan], flags: Dict[str, Any]) -> Tuple[CheckDocument, Path]:
    """Check all plans; the document and the run's folder."""
    quiet = flags.get("detail") == VERDICTS
    document = parity.create_check_document(plans)
    folder = Path(flags["out"] or Path("results") / document.run_id)
    given = {name: flags[name] for name in Measuring.model_fields if flags.get(name) is not None}
    measuring = Measuring(**given)
    checker: parity.CheckModel = parity.check_model
    if measuring.speed:
        checker = add_speed(checker, measuring)
    with fresh_run_folder(folder), ProgressBar("", quiet) as bar:
        parity.run_checks(plans, document, folder, measuring.timeout_s, bar, checker)
    return document, folder


def add_speed(check_model: parity.CheckModel, measuring: Measuring) -> parity.CheckModel:
    """A `check_model` that measures the speed after each check that came to its end."""

    def check(plan: Plan, folder: Path, timeout_s: float, observe: parity.Observe) -> ModelCheck:
        found = check_model(plan, folder, timeout_s, observe)
        found.speedup = measure_speedup(plan, folder, measuring, observe)
        return found

    return check


def measure_speedup(
    plan: Plan, folder: Path, measuring: Measuring, observe: parity.Observe, **replaced: Any
) -> Speedup:
    """Eager time over graph time of the plan's train step, within `measuring.budget_s` seconds.

    Fresh processes of both modes are measured on the workload of the check, and their record goes
    to `folder`/speed. A failed worker is a result too, with its message. `replaced` may hold the
    `launch` and the `clock` of `execute_speed`.
    """
    place, environments = folder / SPEED_FOLDER, RuntimeResolver()
    contenders = [Contender(name=mode, mode=mode) for mode in ("eager", "graph")]
    document = create_document("compare", plan, measuring, contenders, environments)
    document.run_id = f"{folder.name}-speed"
    options = {"launch": create_launcher(place, environments), **replaced}
    summary, error = None, "no block"
    try:
        record = execute_speed(
            document, place, prepare_dataset=plan.prepare_dataset, observe=observe, **options
        )
        summary = summarize_record_speed(record, "eager", "graph")
    except WorkerError:
        error = document.error or error
    if summary is None:
        return Speedup(verdict="inconclusive", reason="the measurement failed", error=error)
    judged = ("verdict", "reason", "control_verdict", "replicates")
    return Speedup(
        **summary.judgement.speedup.model_dump(include={"ratio", "low", "high"}),
        **summary.judgement.model_dump(include=set(judged)),
        duration_s=summary.duration_s,
    )


def _report(
    document: CheckDocument, judged: Sequence[Judged], flags: Dict[str, Any], folder: Optional[Path]
) -> int:
    """Print and write the report; the exit status."""
    report = report_check(document, judged)
    markdown = format_markdown(report)
    if flags["as_json"]:
        click.echo(json.dumps(create_result(document, judged), indent=1))
    else:
        verdicts = conclude(judged)
        fits = print_detail(flags["detail"], report, summarize_checks(judged), [Text(verdicts)])
        print_place("check and report", folder, [] if fits else verdicts[:1])
    on_github = flags["annotations"] is None and os.environ.get("GITHUB_ACTIONS") == "true"
    if on_github or flags["annotations"] == "github":
        for line in format_annotations(judged):
            click.echo(line, err=flags["as_json"])
    for path, text in (
        (flags["markdown"], markdown),
        (flags["junit"], format_junit(document, judged)),
        (folder and folder / "report.md", markdown),
    ):
        if path is not None:
            save_text(Path(path), text, "give a file in a folder that you may write to")
    if all(one.check.unusable for one in judged):
        return EXIT_BAD_INPUT
    return worst_status([one.exit_status for one in judged])
