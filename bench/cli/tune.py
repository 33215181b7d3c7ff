"""`bench tune`: the fastest faithful runtime of a model on this machine."""

from __future__ import annotations

import os
import shutil
import signal
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import click

from ..errors import EXIT_DONE, InputError
from .options import find_given_flag, workload_options
from .progress import ProgressBar

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from ..tools.tune.candidates import Setting
    from ..tools.tune.report import CandidateResult, TuneDocument

_OPTIONS = [
    click.option("--mode", type=click.Choice(["eager", "graph"]), default=None,
                 help="Search this mode alone. Default: both."),
    click.option("--budget", "budget_s", type=click.FloatRange(0, min_open=True), default=300.0,
                 show_default=True, metavar="SECONDS", help="Most the whole command may take."),
    click.option("--try", "tried", multiple=True, metavar="NAME=VALUE",
                 help="A variable or an option of nn.Graph's config to try first. Repeatable."),
    click.option("--only", multiple=True, metavar="PATTERN",
                 help="Try only settings whose name fits this wildcard. Repeatable."),
    click.option("--list", "listing", is_flag=True,
                 help="Show the settings that would be tried, and why; runs nothing."),
    click.option("--python", default=None, metavar="PATH",
                 help="Interpreter with the OneFlow to tune. Default: this one."),
    click.option("--profile", default=None, metavar="FILE",
                 help="File to write the profile to. Default: runtime.json in the search's "
                 "folder."),
    click.option("--from", "from_folder", default=None, metavar="DIR",
                 help="Report a stored search again; runs nothing and needs no OneFlow."),
]  # fmt: skip
_HELP = {
    "out": "Folder of the search to create. Default: results/tune-<model>-<time>.",
    "as_json": "Print the result as JSON.",
}


def _tune_options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@_tune_options
@workload_options(_HELP)
def tune(
    mode: Optional[str],
    budget_s: float,
    tried: List[str],
    only: List[str],
    listing: bool,
    python: Optional[str],
    profile: Optional[str],
    from_folder: Optional[str],
    out: Optional[str],
    as_json: bool,
    timeout_s: Optional[float],
    **flags: Any,
) -> int:
    """Search for the fastest runtime of each mode that computes what stock computes.

    Settings are environment variables, options of nn.Graph and the feed. Each is checked for
    parity with stock and screened. Rounds then join the most promising ones to the best
    combination so far, by the speed verdict of bench compare. The selected settings are confirmed
    against stock in fresh processes. The result is a profile for --runtime.

    \b
    bench tune --model resnet18 --data synthetic --image-size 64 --batch-size 8
    bench tune --model lenet --mode graph --budget 120 --profile lenet.json
    bench compare --model lenet --runtime lenet.json
    bench tune --list
    """  # fmt: skip
    if from_folder is not None:
        return _report_stored(Path(from_folder), out, as_json)
    from ..plan.plan import create_plan

    with ProgressBar("images") as bar:
        plan = create_plan(flags, lambda done, total: bar("checking the data", done, total))
    settings = _choose_settings(mode, tried, only, plan)
    if listing:
        return _list_settings(settings)
    from ..plan.contenders import read_python
    from ..record.run import create_run_folder
    from ..tools.tune.report import PROFILE_NAME
    from ..tools.tune.run import check_request, run_search
    from ..tools.tune.search import TuneRequest

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    python = None if python is None else read_python(python)
    model, now = plan.workload.model.replace(":", "-"), datetime.now(timezone.utc)
    folder = Path(out or f"results/tune-{model}-{now:%Y%m%d-%H%M%S}")
    written = folder / PROFILE_NAME if profile is None else _check_writable(Path(profile))
    request = TuneRequest(plan, settings, budget_s, timeout_s or 600.0, python)
    check_request(request)
    create_run_folder(folder)
    with ProgressBar("s") as bar:

        def show(mode: str, candidate: CandidateResult) -> None:
            bar.print_line(_describe(mode, candidate))

        try:
            document = run_search(request, folder, written, observe=bar, show=show)
        except InputError:
            if not any(folder.glob("*/record.json")):  # refused before anything was measured
                shutil.rmtree(folder, ignore_errors=True)
            raise
    return _report(document, folder, as_json)


def _report_stored(stored: Path, out: Optional[str], as_json: bool) -> int:
    from ..record.run import ensure_folder
    from ..tools.tune.report import load_tuning

    flag = find_given_flag(("from_folder", "out", "as_json"))
    if flag:
        raise InputError(
            f"{flag} steers a new search and --from reports a stored one; leave one out"
        )
    document = load_tuning(stored)
    folder = stored if stored.is_dir() else stored.parent
    return _report(document, ensure_folder(Path(out)) if out else folder, as_json)


def _list_settings(settings: Dict[str, List[Setting]]) -> int:
    from rich.console import Console

    from ..report.blocks import print_blocks
    from ..tools.tune.report import list_settings_blocks

    blocks = [list_settings_blocks(mode, listed) for mode, listed in settings.items()]
    print_blocks([block for listed in blocks for block in listed], Console())
    return EXIT_DONE


def _choose_settings(
    mode: Optional[str], tried: List[str], only: List[str], plan: Plan
) -> Dict[str, List[Setting]]:
    """The settings of each mode that is searched. Raises InputError for flags that give none."""
    from ..tools.tune.candidates import (
        BOTH,
        list_settings,
        parse_settings,
        read_facts,
        select_settings,
    )

    modes = BOTH if mode is None else (mode,)
    own = parse_settings(tried, os.environ)
    for setting in own:
        if not set(setting.modes) & set(modes):
            raise InputError(
                f"--try {setting.name} is an option of nn.Graph and --mode {mode} has no "
                "graph; leave one out"
            )
    facts, names, listed = read_facts(), [setting.name for setting in own], {}
    for each in modes:
        found = list_settings(each, plan.workload.feed, facts)
        mine = [setting for setting in own if each in setting.modes]
        listed[each] = [*mine, *(s for s in found if s.name not in names)]
    every = [setting for settings in listed.values() for setting in settings]
    chosen = {each: select_settings(found, only, every) for each, found in listed.items()}
    return {each: found for each, found in chosen.items() if found}


def _check_writable(path: Path) -> Path:
    """Before minutes of measuring: can the profile be written there?"""
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(
            f"--profile {path} cannot be written; give a file in an existing folder that you may "
            "write to"
        )
    return path


def _describe(mode: str, candidate: CandidateResult) -> str:
    from ..tools.tune.report import format_interval, label_candidate

    timed = f"{format_interval(candidate.speedup)}, " if candidate.speedup else ""
    return f"{mode}, {candidate.phase}: {label_candidate(candidate)}: {timed}{candidate.verdict}"


def _report(document: TuneDocument, folder: Path, as_json: bool) -> int:
    from rich.console import Console

    from ..record.run import save_text
    from ..report.blocks import format_markdown, print_blocks
    from ..tools.tune.report import draw_gain, list_report

    drawn = draw_gain(document, folder)
    blocks = list_report(document, drawn[0].name if drawn else None)
    save_text(folder / "report.md", format_markdown(blocks), "give --out a folder you may write to")
    if as_json:
        click.echo(document.model_dump_json(indent=1))
    else:
        print_blocks(blocks, Console())
        click.echo(f"report, picture, records: {folder}")
    return EXIT_DONE
