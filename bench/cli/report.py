"""`bench report`."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import List, Optional, Tuple

import click

from ..errors import EXIT_BAD_INPUT, EXIT_DONE, BenchError
from ..plan.modes import load_run
from ..record.run import save_text
from ..report.page import PAGE_NAME
from ..report.page.dashboard import Row, load_rows, render_dashboard
from ..report.page.render import render_record
from ..tools.sweep.dashboard import list_rows
from ..tools.sweep.document import SWEEP_NAME, load_sweep
from .value_types import RunFolder


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN...", type=RunFolder("record", "sweep")
)
@click.option(
    "--out",
    metavar="FILE",
    help="Default: report.html in the run's folder, of several runs in the folder above the first.",
)
@click.option("--open", "opened", is_flag=True, help="Show the page in the browser.")
@click.option("--json", "as_json", is_flag=True, help="Print the page's path as JSON.")
def report(runs: Tuple[str, ...], out: Optional[str], opened: bool, as_json: bool) -> int:
    """Make the page of a stored RUN again, or a dashboard of several; needs no OneFlow.

    The page is one file that works offline. A dashboard has a row for each comparison, and the
    geometric mean of the speedups. A sweep has a row for each cell. A run that cannot be read is a
    row too, and the exit status is then 2.

    \b
    bench report latest --open
    bench report results/RUN
    bench report results/RUN1 results/RUN2 --out zoo.html
    bench report results/SWEEP
    """
    folders = [Path(run) for run in runs]
    several = len(folders) > 1 or _is_sweep(folders[0])
    home = folders[0] if len(folders) == 1 else folders[0].resolve().parent
    path = Path(out) if out else home / PAGE_NAME
    unreadable = 0
    if several:
        rows = [row for folder in folders for row in _list_rows(folder, path.parent)]
        unreadable = sum(row.status == "unreadable" for row in rows)
        title = f"Sweep {folders[0].resolve().name}" if len(folders) == 1 else None
        page = render_dashboard(rows, title)
    else:
        page = _render_run(folders[0])
    save_text(path, page, "give --out a file in another folder")
    click.echo(json.dumps(str(path)) if as_json else str(path))
    if opened and not webbrowser.open(path.resolve().as_uri()):
        click.echo(f"no browser was found; open {path} in one", err=True)
    return EXIT_BAD_INPUT if unreadable else EXIT_DONE


def _is_sweep(folder: Path) -> bool:
    """Whether it holds a sweep, and no run."""
    return (folder / SWEEP_NAME).exists()


def _list_rows(folder: Path, home: Path) -> List[Row]:
    """The rows of a run or a sweep; one that cannot be read is a row with the reason."""
    try:
        if _is_sweep(folder):
            return list_rows(load_sweep(folder), folder, home)
        return load_rows(folder, home)
    except BenchError as error:
        return [Row(run=folder.name, status="unreadable", error=str(error))]


def _render_run(folder: Path) -> str:
    """Its page, whose pictures for paper are drawn again."""
    from ..report.pictures import render_pictures

    record = load_run(folder)
    with TemporaryDirectory() as drawn:
        return render_record(record, render_pictures([record], Path(drawn)))
