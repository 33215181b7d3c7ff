"""`bench export`."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

import click

from ..errors import InputError
from ..plan.modes import load_run
from ..report.export import CHECKPOINT_FORMAT, FORMATS, export_checkpoint
from ..report.export import export as write_export
from ..report.export.selection import select_contenders
from .value_types import RunFolder


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=RunFolder())
@click.option("--format", "format_name", type=click.Choice(FORMATS), required=True)
@click.option(
    "--contender",
    metavar="NAME",
    help="Export this contender only, and leave its name out of the benchmark's.",
)
@click.option(
    "--out",
    metavar="PATH",
    help="File to create, folder with tensorboard. Default: standard output.",
)
def export(
    runs: Tuple[str, ...], format_name: str, contender: Optional[str], out: Optional[str]
) -> None:
    """Write stored RUNs in a format of another tool; needs no OneFlow.

    --format oneflow writes weights as a folder for oneflow.load. Then RUN is a checkpoint, or a
    run of bench eager or bench graph, which stands for its last one.

    \b
    bench export results/RUN --format csv
    bench export results/RUN --format pyperf --contender eager --out eager.json
    bench export results/RUN --format pyperf --contender graph --out graph.json
    python -m pyperf compare_to eager.json graph.json
    bench export results/RUN --format tensorboard --out events
    bench export results/RUN/checkpoints/graph/best.safetensors --format oneflow --out weights
    """
    if format_name == CHECKPOINT_FORMAT:
        _export_checkpoint(runs, contender, out)
        return
    records = [load_run(Path(run)) for run in runs]
    selected = select_contenders(records, contender)
    parts = write_export(selected, format_name, Path(out) if out else None)
    for part in [f"{out}\n"] if parts is None else parts:
        click.echo(part, nl=False)


def _export_checkpoint(runs: Tuple[str, ...], contender: Optional[str], out: Optional[str]) -> None:
    if len(runs) > 1 or contender is not None or out is None:
        raise InputError(
            "--format oneflow writes the weights of one checkpoint to a folder; give one RUN or "
            "checkpoint, --out FOLDER, and no --contender"
        )
    export_checkpoint(Path(runs[0]), Path(out))
