"""`bench history`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Optional, Tuple

import click

from ..errors import EXIT_BAD_INPUT, EXIT_DIFFERENT, EXIT_DONE
from ..record.run import DOCUMENT_NAME, ensure_folder
from ..report.blocks import print_blocks
from ..tools.history import METRICS
from ..tools.history.series import find_worse, load_history
from .console import Console, ProgressBar
from .failures import go_on_without, say

DEFAULT_FOLDER = "results"


@click.command()
@click.argument("folders", nargs=-1, metavar="[FOLDER...]")
@click.option(
    "--metric",
    "metrics",
    type=click.Choice(list(METRICS)),
    multiple=True,
    help="Show this metric only. Repeatable. Default: all.",
)
@click.option("--out", metavar="DIR", help="Folder for the pictures. Default: FOLDER/history.")
@click.option("--branch", metavar="NAME", help="Show the runs of this git branch only.")
@click.option("--label", metavar="WORD", help="Show the runs of this --label only.")
@click.option("--gate", is_flag=True, help="Exit status 1 if the newest level of a curve is worse.")
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON.")
def history(
    folders: Tuple[str, ...],
    metrics: Tuple[str, ...],
    out: Optional[str],
    branch: Optional[str],
    label: Optional[str],
    gate: bool,
    as_json: bool,
) -> int:
    """Show the changes over stored runs; needs no OneFlow.

    A FOLDER is a run or holds runs; the default is results. Runs of another machine, OneFlow,
    workload, setting, git branch or label are another series, and the report names the differences.
    The exit status is 2 if a record could not be read; the other records are shown all the same.

    \b
    bench history
    bench history --branch main --gate
    bench history results other/results --metric train_step_time_s --metric speedup
    """
    paths = [Path(folder) for folder in folders or (DEFAULT_FOLDER,)]
    with ProgressBar("runs") as bar:
        found = load_history(
            paths,
            metrics or list(METRICS),
            partial(bar, "reading"),
            {name: value for name, value in (("branch", branch), ("label", label)) if value},
        )
    for reason in found.skipped:
        say(f"warning: skipped: {reason}")
    first = paths[0]  # pictures lie beside the runs, also where a run itself was given
    home = first.resolve().parent if (first / DOCUMENT_NAME).exists() else first
    folder = Path(out) if out else home / "history"
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    else:
        from ..tools.history.report import report_history

        console = Console()
        print_blocks(report_history(found, console.encoding), console)
        console.print(f"pictures: {folder}", soft_wrap=True)
    with go_on_without("the pictures", "give --out another folder"):
        from ..tools.history.report import render_history_pictures

        render_history_pictures(found, ensure_folder(folder))
    worse = find_worse(found) if gate else []
    for reason in worse:
        say(f"gate: {reason}")
    if found.skipped:
        return EXIT_BAD_INPUT
    return EXIT_DIFFERENT if worse else EXIT_DONE
