"""`bench tune`: the fastest faithful runtime of a model on this machine."""

from __future__ import annotations

import os
import shutil
import signal
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import click

from ..errors import EXIT_DONE, InputError
from .options import HeadedCommand, find_given_flag, workload_options
from .progress import ProgressBar

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from ..tools.tune.candidates import Setting
    from ..tools.tune.result import CandidateResult, TuneDocument

_OWN = ("mode", "budget_s", "tried", "only", "listing", "python", "profile", "from_folder")
_HELP = {
    "out": "Folder of the search to create. Default: results/tune-<model>-<time>.",
    "as_json": "Print the result as JSON.",
}


@click.command(cls=HeadedCommand)
@click.option(
    "--mode",
    type=click.Choice(["eager", "graph"]),
    default=None,
    help="Search this mode alone. Default: both.",
)
@click.option(
    "--budget",
    "budget_s",
    type=click.FloatRange(0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Most the whole command may take.",
)
@click.option(
    "--try",
    "tried",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable or an option of nn.Graph's config to try first. Repeatable.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Try only settings whose name fits this wildcard. Repeatable.",
)
@click.option(
    "--list",
    "listing",
    is_flag=True,
    help="Show the settings that would be tried, and why; runs nothing.",
)
@click.option(
    "--python",
    default=None,
    metavar="PATH",
    help="Interpreter with the OneFlow to tune. Default: this one.",
)
@click.option(
    "--profile",
    default=None,
    metavar="FILE",
    help="Where to write the profile. Default: runtime.json in the search's folder.",
)
@click.option(
    "--from",
    "from_folder",
    default=None,
    metavar="DIR",
    help="Report a stored search again; runs nothing and needs no OneFlow.",
)
@workload_options(_HELP)
def tune(**flags: Any) -> int:
    """Search for the fastest runtime of each mode that computes what stock computes.

    Environment variables, options of nn.Graph and the feed race against stock in fresh processes
    that take turns; what is surely not faster leaves. The winners are combined, each is left out in
    turn, and the best are confirmed by the speed verdict. Whatever trains other losses or weights
    than rounding explains is out. The result is a profile for --runtime.

    \b
    bench tune --model resnet18 --data synthetic --image-size 64 --batch-size 8
    bench tune --model lenet --mode graph --budget 120 --profile lenet.json
    bench compare --model lenet --runtime lenet.json
    bench tune --list
    """  # fmt: skip
    own = {name: flags.pop(name) for name in _OWN}
    out, as_json = flags.pop("out"), flags.pop("as_json")
    if own["from_folder"] is not None:
        return _report_stored(Path(own["from_folder"]), out, as_json)
    if own["listing"]:
        return _list_settings(own, flags)
    document, folder = _search(own, flags, out)
    return _report(document, folder, as_json)


def _report_stored(stored: Path, out: Optional[str], as_json: bool) -> int:
    from ..record.run import ensure_folder
    from ..tools.tune.result import load_tuning

    flag = find_given_flag(("from_folder", "out", "as_json"))
    if flag:
        raise InputError(
            f"{flag} steers a new search and --from reports a stored one; leave one out"
        )
    document = load_tuning(stored)
    folder = stored if stored.is_dir() else stored.parent
    return _report(document, ensure_folder(Path(out)) if out else folder, as_json)


def _list_settings(own: Dict[str, Any], flags: Dict[str, Any]) -> int:
    from rich.console import Console

    from ..tools.tune.report import render_settings

    console = Console()
    for mode, settings in _choose_settings(own, _plan(flags)).items():
        render_settings(mode, settings, console)
    return EXIT_DONE


def _search(
    own: Dict[str, Any], flags: Dict[str, Any], out: Optional[str]
) -> Tuple[TuneDocument, Path]:
    from ..plan.contenders import read_python
    from ..record.run import create_run_folder
    from ..tools.tune.result import NOT_TRIED, PROFILE_NAME
    from ..tools.tune.run import TuneRequest, check_request, run_search

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    python = None if own["python"] is None else read_python(own["python"])
    timeout_s = flags.pop("timeout_s") or 600.0
    plan = _plan(flags)
    settings = _choose_settings(own, plan)
    now = datetime.now(timezone.utc)
    model = plan.workload.model.replace(":", "-")
    folder = Path(out or f"results/tune-{model}-{now:%Y%m%d-%H%M%S}")
    if own["profile"] is not None:
        _check_writable(Path(own["profile"]))
    request = TuneRequest(plan, settings, own["budget_s"], timeout_s, python)
    check_request(request)
    create_run_folder(folder)
    profile = Path(own["profile"]) if own["profile"] else folder / PROFILE_NAME
    with ProgressBar("s") as bar:

        def show(mode: str, candidate: CandidateResult) -> None:
            if candidate.verdict != NOT_TRIED:
                bar.print_line(_describe(mode, candidate))

        try:
            document = run_search(request, folder, profile, observe=bar, show=show)
        except InputError:
            if not any(folder.glob("heats.jsonl")):  # refused before anything was measured
                shutil.rmtree(folder, ignore_errors=True)
            raise
    return document, folder


def _plan(flags: Dict[str, Any]) -> Plan:
    from ..plan.plan import create_plan

    with ProgressBar("images") as bar:
        given = {name: value for name, value in flags.items() if name != "timeout_s"}
        return create_plan(given, lambda done, total: bar("checking the data", done, total))


def _choose_settings(own: Dict[str, Any], plan: Plan) -> Dict[str, List[Setting]]:
    """The settings of each mode that is searched. Raises InputError for flags that give none."""
    from ..tools.tune.candidates import BOTH, list_settings, read_facts
    from ..tools.tune.given import parse_settings, select_settings

    modes = BOTH if own["mode"] is None else (own["mode"],)
    given = parse_settings(own["tried"], os.environ)
    for setting in given:
        if not set(setting.modes) & set(modes):
            raise InputError(
                f"--try {setting.name} is an option of nn.Graph and --mode {own['mode']} has no "
                "graph; leave one out"
            )
    facts, names = read_facts(), [setting.name for setting in given]
    settings = {}
    for mode in modes:
        listed = list_settings(mode, plan.workload.feed, facts)
        mine = [setting for setting in given if mode in setting.modes]
        settings[mode] = [*mine, *(s for s in listed if s.name not in names)]
    every = [setting for listed in settings.values() for setting in listed]
    chosen = {
        mode: select_settings(listed, own["only"], every) for mode, listed in settings.items()
    }
    return {mode: listed for mode, listed in chosen.items() if listed}


def _check_writable(path: Path) -> None:
    """Before minutes of measuring: can the profile be written there?"""
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(
            f"--profile {path} cannot be written; give a file in a folder that is there and that "
            "you may write to"
        )


def _describe(mode: str, candidate: CandidateResult) -> str:
    from ..tools.tune.report import format_interval

    name = candidate.name
    if candidate.left_out:
        name = f"without {candidate.left_out}, against the whole"
    timed = f"{format_interval(candidate.speedup)}, " if candidate.speedup else ""
    return f"{mode}, {candidate.phase}: {name}: {timed}{candidate.verdict}"


def _report(document: TuneDocument, folder: Path, as_json: bool) -> int:
    from rich.console import Console

    from ..record.run import save_text
    from ..tools.tune.plot import render_tuning_picture
    from ..tools.tune.report import render_markdown, render_terminal

    pictures = render_tuning_picture(document, folder)
    report = render_markdown(document, pictures)
    save_text(folder / "report.md", report, "give --out a folder you may write to")
    if as_json:
        click.echo(document.model_dump_json(indent=1))
    else:
        console = Console()
        render_terminal(document, console)
        console.print(f"report, picture, records: {folder}", soft_wrap=True)
    return EXIT_DONE
