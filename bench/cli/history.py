"""`bench history`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Tuple

import click

from ..errors import EXIT_BAD_INPUT, EXIT_DONE, InputError
from ..tools.history.metrics import METRICS
from .progress import ProgressBar

if TYPE_CHECKING:
    from ..tools.history.series import History

DEFAULT_FOLDER = "results"


@click.command()
@click.argument("folders", nargs=-1, metavar="[FOLDER...]")
@click.option(
    "--metric",
    "metrics",
    type=click.Choice(list(METRICS)),
    multiple=True,
    help="That one alone. Repeatable. Default: all.",
)
@click.option(
    "--out",
    default=None,
    metavar="DIR",
    help="Folder of the pictures. Default: FOLDER/history.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON.")
def history(
    folders: Tuple[str, ...], metrics: Tuple[str, ...], out: Optional[str], as_json: bool
) -> int:
    """Say what changed over stored runs; needs no OneFlow.

    A FOLDER is a run, or holds runs; the default is results. Runs of another machine, OneFlow,
    workload or setting are never joined: each series stands apart, with what differs in words.
    Exit status 2 when a record could not be read; the others are shown all the same.

    \b
    bench history
    bench history results other/results --metric train_step_time_s --metric speedup
    """
    from ..tools.history.series import load_history

    paths = [Path(folder) for folder in folders or (DEFAULT_FOLDER,)]
    with ProgressBar("runs") as bar:
        found = load_history(
            paths, metrics or list(METRICS), lambda done, total: bar("reading", done, total)
        )
    for reason in found.skipped:
        click.echo(f"warning: skipped: {reason}", err=True)
    pictures = _draw(found, Path(out) if out else _default_folder(paths[0]))
    if as_json:
        click.echo(found.model_dump_json(indent=1))
    else:
        _print(found, pictures)
    return EXIT_BAD_INPUT if found.skipped else EXIT_DONE


def _default_folder(folder: Path) -> Path:
    """Beside the runs, also where a run itself was given."""
    from ..record.run import DOCUMENT_NAME

    is_run = (folder / DOCUMENT_NAME).exists()
    return (folder.resolve().parent if is_run else folder) / "history"


def _draw(found: History, folder: Path) -> List[Path]:
    from ..tools.history.plot import render_history_pictures

    try:
        folder.mkdir(parents=True, exist_ok=True)
        return render_history_pictures(found, folder)
    except OSError as error:
        raise InputError(
            f"cannot write pictures to {folder} ({error.strerror}); give --out another folder"
        ) from None


def _print(found: History, pictures: List[Path]) -> None:
    from rich.console import Console

    from ..tools.history.report import render_history

    console = Console()
    render_history(found, console)
    console.print(f"pictures: {pictures[0].parent}", soft_wrap=True)
