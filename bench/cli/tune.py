"""`bench tune`: the fastest faithful runtime of a model on this machine."""

from __future__ import annotations

import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import click

from ..config import Measuring
from ..errors import EXIT_DONE, InputError
from ..plan.contenders import read_python
from ..plan.plan import create_plan
from ..record.run import create_run_folder, create_run_id, ensure_folder
from ..report.blocks import print_blocks
from ..tools.tune.candidates import choose_settings
from ..tools.tune.phase import TuneRequest
from ..tools.tune.report import (
    PROFILE_NAME,
    CandidateResult,
    draw_gain,
    format_interval,
    list_report,
    load_tuning,
)
from ..tools.tune.search import run_search
from ..worker.foreign_python import check_interpreter, check_options
from .console import Console, ProgressBar
from .failures import go_on_without
from .options import (
    HeadedCommand,
    decorated,
    find_given,
    find_given_flag,
    step_argument,
    take_step,
    workload_options,
)
from .value_types import NumberRange

BUDGET_S = 300.0
_BUDGET = {"type": NumberRange(0, min_open=True), "metavar": "SECONDS", "default": BUDGET_S}
_OPTIONS: List[Tuple[str, str, Dict[str, Any], str]] = [
    ("--mode", "mode", {"type": click.Choice(["eager", "graph"])}, "Search it alone, not both."),
    ("--budget", "budget_s", _BUDGET, f"Most the whole command may take. Default: {BUDGET_S:g}."),
    ("--try", "tried", {"multiple": True}, "NAME=VALUE to try first. Repeatable."),
    ("--only", "only", {"multiple": True}, "Wildcard of the settings to try. Repeatable."),
    ("--list", "listing", {"is_flag": True}, "Show the settings and their reasons; runs nothing."),
    ("--python", "python", {"metavar": "PATH"}, "Interpreter to tune. Default: this one."),
    ("--profile", "profile", {"metavar": "FILE"}, "Profile to write. Default: in the folder."),
    ("--from", "from_folder", {"metavar": "DIR"}, "Report a stored search again; runs nothing."),
]
_HELP = {
    "out": "Folder of the search to create. Default: results/tune-<model>-<time>.",
    "as_json": "Print the result as JSON.",
}


@click.command(cls=HeadedCommand)
@step_argument
@decorated(*[click.option(flag, name, help=text, **how) for flag, name, how, text in _OPTIONS])
@workload_options(_HELP)
def tune(from_folder: Optional[str], listing: bool, **flags: Any) -> int:
    """Search for the fastest runtime of each mode that computes what stock computes.

    Settings are environment variables, options of nn.Graph and the feed. Each is checked for
    parity with stock. Rounds then join the most promising ones to the best combination so far, by
    the speed verdict of bench compare. The selected settings are confirmed against stock in fresh
    processes. The result is a profile for --runtime. MODULE:STEP is a TrainingStep of your own
    (docs/your-own-step.md).

    \b
    bench tune --model resnet18 --data synthetic --image-size 64 --batch-size 8
    bench tune --model lenet --mode graph --budget 120 --profile lenet.json
    bench tune my_file:gpt --budget 120
    bench compare --model lenet --runtime lenet.json
    bench tune --list
    """  # fmt: skip
    if from_folder is not None:
        return _report_stored(Path(from_folder), flags["out"], flags["as_json"], flags["step"])
    idle = find_given(("budget_s", "profile", "out", "timeout_s")) if listing else None
    if idle:
        raise InputError(f"{idle} steers a search and --list runs none; leave one out")
    take_step(flags)
    own = {name: flags.pop(name) for name in ("mode", "budget_s", "tried", "only", "python")}
    own.update({name: flags.pop(name) for name in ("profile", "out", "as_json", "timeout_s")})
    with ProgressBar("images") as bar:
        plan = create_plan(flags, partial(bar, "checking the data"))
    feed = "memory" if plan.dataset is None else plan.workload.feed
    own["python"] = None if own["python"] is None else read_python(own["python"])
    python = own["python"] or sys.executable
    settings = choose_settings(own["mode"], feed, own["tried"], own["only"], python)
    if not listing:
        return _search(plan, settings, own)
    if own["as_json"]:
        shown = {
            mode: [{"name": setting.name, "why": setting.why} for setting in listed]
            for mode, listed in settings.items()
        }
        click.echo(json.dumps(shown, indent=1))
        return EXIT_DONE
    for mode, listed in settings.items():
        click.echo(f"{mode}: settings, in the order of the search")
        for setting in listed:
            click.echo(f"  {setting.name}: {setting.why}")
    return EXIT_DONE


def _search(plan: Any, settings: Dict[str, Any], own: Dict[str, Any]) -> int:
    python = own["python"]
    folder = Path(own["out"] or f"results/{create_run_id('tune', plan.workload.model)}")
    profile = Path(own["profile"]) if own["profile"] else folder / PROFILE_NAME
    if own["profile"] and (profile.is_dir() or not os.access(profile.parent, os.W_OK)):
        raise InputError(
            f"--profile {profile} cannot be written; give a file in an existing folder that you "
            "may write to"
        )
    timeout_s = own["timeout_s"] or Measuring().timeout_s
    request = TuneRequest(plan, settings, own["budget_s"], timeout_s, python)
    found = check_interpreter(python or sys.executable, os.environ)  # before anything is measured
    for setting in settings.get("graph", []):
        check_options(found, setting.graph_options)
    create_run_folder(folder)
    with ProgressBar("s") as bar:

        def show(mode: str, one: CandidateResult) -> None:
            timed = f"{format_interval(one.speedup)}, " if one.speedup else ""
            bar.print_line(f"{mode}, {one.phase}: {one.label}: {timed}{one.verdict}")

        try:
            document = run_search(request, folder, profile, observe=bar, show=show)
        except InputError:
            if not any(folder.glob("*/record.json")):  # refused before anything was measured
                shutil.rmtree(folder, ignore_errors=True)
            raise
    return _report(document, folder, own["as_json"])


def _report_stored(stored: Path, out: Optional[str], as_json: bool, step: Optional[str]) -> int:
    flag = step or find_given_flag(("from_folder", "out", "as_json"))
    if flag:
        raise InputError(
            f"{flag} steers a new search and --from reports a stored one; leave one out"
        )
    document = load_tuning(stored)
    folder = stored if stored.is_dir() else stored.parent
    return _report(document, ensure_folder(Path(out)) if out else folder, as_json)


def _report(document: Any, folder: Path, as_json: bool) -> int:
    from .run import write_markdown

    if as_json:
        click.echo(document.model_dump_json(indent=1))
    else:
        print_blocks(list_report(document), Console())
        click.echo(f"report, picture, records: {folder}")
    with go_on_without("the report", "give bench tune --from that folder, and --out another"):
        write_markdown(folder, partial(list_report, document), partial(draw_gain, document, folder))
    return EXIT_DONE
