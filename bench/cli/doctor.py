"""`bench doctor`."""

from __future__ import annotations

import sys
from typing import Optional

import click

from ..report.blocks import print_blocks
from .console import Console
from .progress import ProgressBar
from .value_types import NumberRange


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
    help="tuned sets the suite's variables unless you have set them; stock sets none.",
)
@click.option(
    "--budget",
    "budget_s",
    type=NumberRange(5, 3600),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="Time for everything. Checks that do not fit into it are unknown.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
def doctor(python: Optional[str], runtime: str, budget_s: float, as_json: bool) -> int:
    """Find the causes that slow OneFlow down on this machine, their costs and remedies.

    The doctor measures in processes of the interpreter examined. If OneFlow cannot be imported
    there, it explains why. It times an eager train step of a small network, not of your model.

    Exit status: 0 nothing needs attention, 1 something does, 2 bad input, 3 inconclusive: nothing
    was found, but time was up or the machine was too unsteady for some checks.

    \b
    bench doctor
    bench doctor --runtime stock
    bench doctor --python other/.venv/bin/python --json
    """
    from ..tools.doctor.diagnosis import report_diagnosis
    from ..tools.doctor.run import diagnose

    with ProgressBar("") as bar:
        diagnosis = diagnose(python or sys.executable, runtime, budget_s, bar)
    if as_json:
        click.echo(diagnosis.model_dump_json(indent=1))
    else:
        print_blocks(report_diagnosis(diagnosis), Console())
    return diagnosis.exit_status
