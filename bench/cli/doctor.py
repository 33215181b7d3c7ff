"""`bench doctor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional

import click

from ..errors import InputError
from ..record.machine import read_cpu
from ..report.blocks import print_blocks
from ..tools.doctor.diagnosis import ProfiledStep, report_diagnosis
from ..tools.doctor.run import diagnose
from ..tools.profile.document import load_profile
from ..verdict.statistics import summarize
from .console import Console, ProgressBar
from .value_types import NumberRange


@click.command()
@click.option(
    "--python", metavar="PATH", help="Interpreter to examine. Default: the one that runs the suite."
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
@click.option(
    "--profile",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of a `bench profile` of your model, made here: predict what another BLAS gives.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the diagnosis as JSON.")
def doctor(
    python: Optional[str], runtime: str, budget_s: float, folder: Optional[Path], as_json: bool
) -> int:
    """Find the causes that slow OneFlow down on this machine, their costs and remedies.

    The doctor measures in processes of the interpreter examined. If OneFlow cannot be imported
    there, it explains why. It times an eager train step of a small network, not of your model.
    Of your model it takes the shapes of the matrix products, with --profile.

    Exit status: 0 nothing needs attention, 1 something does, 2 bad input, 3 inconclusive: nothing
    was found, but time was up or the machine was too unsteady for some checks.

    \b
    bench doctor
    bench doctor --runtime stock
    bench doctor --profile results/my-profile --budget 60
    bench doctor --python other/.venv/bin/python --json
    """
    profiled = None if folder is None else read_step(folder)
    with ProgressBar("") as bar:
        diagnosis = diagnose(python or sys.executable, runtime, budget_s, bar, profiled=profiled)
    if as_json:
        click.echo(diagnosis.model_dump_json(indent=1))
    else:
        print_blocks(report_diagnosis(diagnosis), Console())
    return diagnosis.exit_status


def read_step(folder: Path) -> ProfiledStep:
    """The step of a stored profile and its products.

    Raises InputError for a profile from another processor, with a preloaded BLAS, or of no
    products, and RecordError for a file that is no profile.
    """
    document = load_profile(folder)
    given, remedy = f"--profile {folder}", "make a `bench profile` of the model here"
    theirs, ours = (cpu.get("model") for cpu in (document.machine.get("cpu") or {}, read_cpu()))
    if theirs != ours:
        raise InputError(f"{given} is of the processor {theirs} and this one is {ours}; {remedy}")
    if document.environment.get("blas"):
        raise InputError(f"{given} was made with another BLAS; {remedy} without --blas")
    products = [product for layer in document.layers for product in layer.products]
    if not products:
        raise InputError(
            f"{given} has no matrix products: the model has no Conv2d or Linear layer, or an older "
            f"version made it; {remedy}"
        )
    step_s = document.graph.step_s if document.graph else document.parts.step_s
    return ProfiledStep(
        model=document.model,
        mode=document.mode,
        batch=document.describe_batch(),
        step_s=summarize(step_s).median,
        shapes=[product.shape for product in products],
        counts=[product.count for product in products],
    )
