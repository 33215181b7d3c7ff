"""`bench plot`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional, Tuple

import click

from ..errors import InputError
from ..plan.modes import load_run
from .value_types import RunFolder


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=RunFolder())
@click.option("--out", metavar="DIR", help="Default: the first run's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the pictures' paths as JSON.")
def plot(runs: Tuple[str, ...], out: Optional[str], as_json: bool) -> None:
    """Draw the pictures of one or more stored RUNs, as PNG and SVG; needs no OneFlow.

    \b
    bench plot results/RUN
    bench plot results/RUN1 results/RUN2 --out pictures
    """
    from ..report.pictures import render_pictures

    records = [load_run(Path(run)) for run in runs]
    folder = Path(out) if out else records[0].folder
    assert folder is not None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = render_pictures(records, folder)
    except OSError as error:
        raise InputError(
            f"cannot write pictures to {folder} ({error.strerror}); give --out another folder"
        ) from None
    paths = [str(path) for path in pictures]
    click.echo(json.dumps(paths, indent=1) if as_json else "\n".join(paths))
