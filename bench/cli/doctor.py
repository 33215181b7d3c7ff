"""`bench doctor`."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import Optional

import click

from .progress import ProgressBar

DEFAULT_BUDGET_S = 20.0


@click.command()
@click.option(
    "--python",
    default=None,
    metavar="PATH",
    help="Interpreter to examine. Default: the one that runs the suite.",
)
@click.option(
    "--runtime",
    type=click.Choice(["tuned", "stock"]),
    default="tuned",
    show_default=True,
    help="The suite's variables where you have set none, or OneFlow's environment as it is.",
)
@click.option(
    "--budget",
    "budget_s",
    type=click.FloatRange(5, 3600),
    default=DEFAULT_BUDGET_S,
    show_default=True,
    metavar="SECONDS",
    help="Time for everything; what it does not suffice for is said to be unknown.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
def doctor(python: Optional[str], runtime: str, budget_s: float, as_json: bool) -> int:
    """Say what slows OneFlow down on this machine, by how much, and what to do.

    Measures in processes of the interpreter examined; works where OneFlow cannot be imported, and
    says why. A train step of a small network, in eager mode, stands for yours.

    Exit status: 0 nothing needs attention, 1 something does, 2 bad input, 3 nothing was found, and
    not everything could be found out (time was up, or the machine too unsteady).

    \b
    bench doctor
    bench doctor --runtime stock
    bench doctor --python other/.venv/bin/python --json
    """
    from ..tools.doctor.run import diagnose

    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with ProgressBar("") as bar:
        diagnosis = diagnose(python or sys.executable, runtime, budget_s, now, bar)
    if as_json:
        click.echo(diagnosis.model_dump_json(indent=1))
    else:
        from rich.console import Console

        from ..tools.doctor.report import render_diagnosis

        render_diagnosis(diagnosis, Console())
    return diagnosis.exit_status
