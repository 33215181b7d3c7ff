"""`bench check`: is the graph the same model, and is it what it was?"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

import click

from ..errors import InputError, worst_status
from ..parity.defaults import CHECK_DEFAULTS, CHECK_IMAGE_SIZE
from .options import HeadedCommand, field_options, find_given_flag, workload_options
from .progress import ProgressBar

if TYPE_CHECKING:
    from ..parity.gate import Judged
    from ..parity.result import CheckDocument
    from ..plan.plan import Plan

_NOT_WORKLOAD = (
    "models", "baseline", "from_run", "out", "as_json", "timeout_s", "speed", "budget_s",
)  # fmt: skip
_WITH_A_STORED_RUN = ("from_run", "baseline", "junit", "markdown", "annotations", "as_json")

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


def check_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the flags that say what is checked, or which stored check is taken instead."""
    command = workload_options(_HELP, _SHOWN)(command)
    command = field_options(["speed", "budget_s"])(command)
    command = click.option(
        "--from",
        "from_run",
        default=None,
        metavar="RUN",
        help="Take a stored check (its folder, or check.json) and run nothing.",
    )(command)
    return click.option(
        "--models",
        default=None,
        metavar="NAMES",
        help="Models, with wildcards: lenet,'resnet*'. Default: those with a baseline, or "
        "alexnet_cifar.",
    )(command)


@click.command(cls=HeadedCommand)
@click.option(
    "--annotations",
    type=click.Choice(["github", "none"]),
    default=None,
    help="Workflow commands for GitHub. Default: github where GITHUB_ACTIONS is true.",
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
    memory with what is stored; with --speed the speedup too.

    Exit status of many models: 1 (different or worse) before 4 (a worker failed) before
    3 (inconclusive) before 0; 2 (bad input) before anything is run.

    \b
    bench check --model resnet18
    bench check --models 'vgg*,lenet' --baseline results/baselines
    bench check --from results/RUN --junit check.xml --markdown check.md
    """  # fmt: skip
    for name in ("junit", "markdown"):
        _require_parent(name, flags[name])
    from ..parity.baseline import list_baselines
    from ..parity.gate import find_baselines, judge_checks

    place = Path(flags["baseline"]) if flags["baseline"] is not None else None
    if flags["from_run"] is not None:
        document = load_stored_check(flags["from_run"], _WITH_A_STORED_RUN)
        workloads = [found.workload for found in document.checks]
        baselines = find_baselines(place, workloads) if place else []
        return _report(document, judge_checks(document, baselines), flags, None)
    plans = plan_checks(flags, lambda: list_baselines(place) if place else [])
    baselines = find_baselines(place, [plan.workload for plan in plans]) if place else []
    document, folder = run_planned_checks(plans, flags)
    return _report(document, judge_checks(document, baselines), flags, folder)


def _require_parent(name: str, path: Optional[str]) -> None:
    """A report that cannot be written is refused before minutes are spent."""
    if path is not None and (not Path(path).parent.is_dir() or Path(path).is_dir()):
        raise InputError(f"--{name} {path} cannot be written; give a file in a folder that exists")


def load_stored_check(run: str, allowed: Sequence[str]) -> CheckDocument:
    """A stored check; flags that steer a new run are refused beside it."""
    from ..parity.documents import load_check

    flag = find_given_flag(allowed)
    if flag:
        raise InputError(f"{flag} steers a new run and --from gives a stored one; leave one out")
    return load_check(Path(run))


def plan_checks(flags: Dict[str, Any], list_stored: Callable[[], Sequence[str]]) -> List[Plan]:
    """A plan for each model that the flags name; whatever cannot be run is refused here."""
    if flags["budget_s"] is not None and not flags["speed"]:
        raise InputError("--budget limits the measuring of --speed; give both or neither")
    from ..parity.planning import choose_models, create_check_plans

    ours = (*_NOT_WORKLOAD, *_WITH_A_STORED_RUN)
    workload = {name: value for name, value in flags.items() if name not in ours}
    names = choose_models(workload, flags["models"], list_stored)
    with ProgressBar("images") as bar:
        return create_check_plans(
            names, workload, lambda done, total: bar("checking the data", done, total)
        )


def run_planned_checks(plans: Sequence[Plan], flags: Dict[str, Any]) -> Any:
    """Check all plans; the document and the run's folder."""
    from ..config import Measuring
    from ..parity.documents import create_check_document
    from ..parity.run import check_model
    from ..parity.series import CheckModel, run_checks
    from ..parity.speed import create_speed_checker
    from ..record.run import create_run_folder

    checker: CheckModel = check_model
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    document = create_check_document(plans)
    folder = Path(flags["out"] or Path("results") / document.run_id)
    create_run_folder(folder)
    given = {name: flags[name] for name in ("speed", "budget_s", "timeout_s")}
    measuring = Measuring(**{name: value for name, value in given.items() if value is not None})
    if measuring.speed:
        checker = create_speed_checker(check_model, measuring)
    with ProgressBar("") as bar:
        run_checks(plans, document, folder, measuring.timeout_s, bar, checker)
    return document, folder


def _report(
    document: CheckDocument,
    judged: Sequence[Judged],
    flags: Dict[str, Any],
    folder: Optional[Path],
) -> int:
    """Write and print what was found; the exit status."""
    from rich.console import Console

    from ..parity.gate import create_result
    from ..record.run import save_text
    from ..report.annotations import format_annotations
    from ..report.blocks import format_markdown, print_blocks
    from ..report.check import report_check
    from ..report.junit import format_junit

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
    if _wants_annotations(flags["annotations"]):
        for line in format_annotations(judged):
            click.echo(line, err=flags["as_json"])
    return worst_status([one.exit_status for one in judged])


def _wants_annotations(asked: Optional[str]) -> bool:
    if asked is None:
        return os.environ.get("GITHUB_ACTIONS") == "true"
    return asked == "github"
