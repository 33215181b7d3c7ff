"""`bench runs`."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import click

from .value_types import RESULTS


@click.command()
@click.option(
    "--results", default=RESULTS, show_default=True, metavar="DIR", help="Folder of the runs."
)
@click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON.")
def runs(results: str, as_json: bool) -> None:
    """List the stored runs with age, model and verdict, the newest last; needs no OneFlow.

    Every command that takes a RUN also takes the beginning of a run's name in the folder results,
    and the word latest.

    \b
    bench runs
    bench report latest --open
    bench compare compare-resnet18 latest
    """
    from ..report.blocks import print_blocks
    from ..report.stored import read_stored, report_stored
    from ..tools.history.series import find_runs
    from .console import Console

    stored = sorted(map(read_stored, find_runs([Path(results)])), key=lambda run: run.created)
    if as_json:
        click.echo(json.dumps([one.model_dump() for one in stored], indent=1))
    else:
        print_blocks(report_stored(stored, datetime.now(timezone.utc)), Console())
