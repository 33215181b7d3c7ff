"""`bench adopt`: a training script becomes a `TrainingStep` and a graph script."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Optional, Tuple

import click

from ..errors import EXIT_DONE, InputError, worst_status
from ..record.run import save_text
from ..tools.adopt.run import adopt as read
from ..tools.adopt.writing import name_file
from .options import HeadedCommand, field_option


@click.command(cls=HeadedCommand)
@click.argument("script", metavar="SCRIPT")
@click.argument("arguments", nargs=-1, metavar="[-- ARGUMENTS]")
@click.option("--out", metavar="DIR", help="Folder of both files. Default: the script's.")
@click.option("--run", is_flag=True, help="Check parity and compare the speed afterwards.")
@field_option("budget_s")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def adopt(
    script: str,
    arguments: Tuple[str, ...],
    out: Optional[str],
    run: bool,
    budget_s: Optional[float],
    as_json: bool,
) -> int:
    """Turn a OneFlow training SCRIPT into a TrainingStep and a graph script.

    The script is read and not run. NAME_bench.py defines its training as a TrainingStep, for bench
    check and bench compare. NAME_graph.py trains it by an nn.Graph. Module, batches, loss,
    optimizer and scheduler are named with their lines, and so is each change.

    ARGUMENTS after two hyphens are the script's own command line.

    \b
    bench adopt train.py
    bench adopt train.py -- --batch-size 32
    bench adopt train.py --run --budget 60
    """
    if budget_s is not None and not run:
        raise InputError("--budget limits the measuring of --run; give both or neither")
    if run and as_json:
        raise InputError("--json prints the findings and --run a report; leave one out")
    path = Path(script)
    folder = Path(out) if out else path.parent
    if not folder.is_dir():
        raise InputError(f"--out {folder} is no folder; give one that exists")
    workload, graph = (folder / name_file(path, kind) for kind in ("bench", "graph"))
    for file in (workload, graph):
        if file.exists():
            raise InputError(f"{file} exists; move it away, or give --out another folder")
    found = read(path, folder, arguments)
    for file, text in ((workload, found.workload), (graph, found.graph)):
        save_text(file, text, "give --out a folder that you may write to")
    step = f"{workload.stem}:{found.step}"
    if as_json:
        told = {
            name: [{"line": number, "text": text} for number, text in lines]
            for name, lines in (("found", found.parts), ("changed", found.notes))
        }
        files = {"step": step, "workload": str(workload), "graph": str(graph)}
        click.echo(json.dumps({**files, **told}, indent=1))
        return EXIT_DONE
    _tell(found, workload, graph)
    if not run:
        click.echo(f"next: bench check {step}, in the folder {folder}")
    return _run(step, folder, budget_s) if run else EXIT_DONE


def _tell(found: Any, workload: Path, graph: Path) -> None:
    for heading, lines in (("found", found.parts), ("changed or left out", found.notes)):
        if lines:
            click.echo(f"{heading}:")
        for number, text in lines:
            click.echo(f"  line {number:<5} {text}")
    click.echo(f"training step: {workload}")
    click.echo(f"graph script: {graph}")


def _run(step: str, folder: Path, budget_s: Optional[float]) -> int:
    """Run `bench check` and, if the modes agree, `bench compare`; the exit status."""
    from .check import check
    from .compare import compare

    paths = [str(folder.resolve()), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    status: int = check.main([step], "bench check", standalone_mode=False) or EXIT_DONE
    if status != EXIT_DONE:
        return status
    budget = [] if budget_s is None else ["--budget", str(budget_s)]
    compared = compare.main([step, *budget], "bench compare", standalone_mode=False)
    return worst_status([status, compared or EXIT_DONE])
