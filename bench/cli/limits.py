"""`bench limits`: how far a train step is from what the machine could do."""

from __future__ import annotations

import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

import click

from ..errors import EXIT_DONE, EXIT_WORKER_FAILED, InputError
from .options import create_contenders, step_options
from .progress import ProgressBar

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from ..tools.limits.document import LimitsDocument
    from ..tools.profile.document import ProfileDocument

_PLAN_FLAGS = ("model", "model_args", "batch_size", "image_size", "num_classes")


@click.command()
@step_options
@click.option(
    "--mode", type=click.Choice(["eager", "graph", "both"]), default="both", show_default=True
)
@click.option(
    "--torch-python",
    default=None,
    metavar="PATH",
    help="A Python interpreter that has PyTorch: the same step in it, eager and compiled.",
)
@click.option(
    "--witness-steps",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Steps whose losses are compared with PyTorch's.",
)
@click.option(
    "--blocks",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="Timed blocks of steps of each contender, in turns.",
)
@click.option(
    "--profile",
    default=None,
    metavar="DIR",
    help="Folder of a `bench profile` of the same step: adds each layer's share of the limit.",
)
def limits(**flags: Any) -> int:
    """Count a train step's operations and least bytes, measure the ceilings, and say the share.

    On the CPU, in float32, with synthetic data. With --torch-python the same architecture, weights
    and batches are run by PyTorch too.

    \b
    bench limits --model alexnet
    bench limits --model resnet18 --image-size 64 --torch-python ~/torch/bin/python
    """  # fmt: skip
    from ..plan.plan import create_plan
    from ..record.run import create_run_folder
    from ..tools.limits.profile_times import check_profile, load_profile
    from ..tools.limits.torch_side import check_torch_python

    given = {name: flags[name] for name in _PLAN_FLAGS}
    fixed = {"data": "synthetic", "feed": "memory", "val_batch_size": 1, "schedule": "constant"}
    plan = create_plan({**given, **fixed})
    modes = ["eager", "graph"] if flags["mode"] == "both" else [flags["mode"]]
    profile = None
    if flags["profile"] is not None:
        profile = load_profile(Path(flags["profile"]))
        check_profile(profile, plan.workload, modes)
    if flags["torch_python"] is not None:
        check_torch_python(flags["torch_python"])
    now = datetime.now(timezone.utc)
    model = plan.workload.model.replace(":", "-")
    folder = Path(flags["out"] or f"results/limits-{model}-{now:%Y%m%d-%H%M%S}")
    create_run_folder(folder)
    try:
        created = now.isoformat(timespec="seconds")
        document = _measure(plan, flags, modes, folder, created, profile)
    except InputError:  # refused on the way: nothing was measured to the end
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _report(document, folder, flags["top"], flags["as_json"])
    failed = any(step.name == "torch eager" and step.error for step in document.steps)
    return EXIT_WORKER_FAILED if failed else EXIT_DONE


def _measure(
    plan: Plan,
    flags: Dict[str, Any],
    modes: List[str],
    folder: Path,
    created: str,
    profile: Optional[ProfileDocument],
) -> LimitsDocument:
    from ..tools.limits.run import Measuring, run_limits
    from ..tools.limits.torch_side import create_torch_launcher
    from ..worker.environment import RuntimeResolver
    from ..worker.launch import create_launcher

    python = flags["torch_python"]
    environments = RuntimeResolver()
    contenders = create_contenders(modes, {**flags, "device": "cpu"}, environments)
    with ProgressBar("") as bar:
        return run_limits(
            plan.workload,
            contenders,
            create_launcher(folder, environments, "oneflow_bench.bench.tools.limits.worker"),
            None if python is None else create_torch_launcher(python, folder),
            Measuring(flags["blocks"], flags["witness_steps"], flags["timeout_s"]),
            created,
            profile,
            Path(flags["profile"]) if profile else None,
            bar,
        )


def _report(document: LimitsDocument, folder: Path, top: Optional[int], as_json: bool) -> None:
    from rich.console import Console

    from ..record.run import write_atomically
    from ..tools.limits.document import DOCUMENT_NAME
    from ..tools.limits.plot import render_limits_picture
    from ..tools.limits.report import render_limits, save_limits_tables

    write_atomically(folder / DOCUMENT_NAME, document.model_dump_json(indent=1) + "\n")
    save_limits_tables(document, folder / "limits.txt")
    render_limits_picture(document, folder)
    if as_json:
        click.echo(document.model_dump_json(indent=1))
        return
    console = Console()
    render_limits(document, console, top)
    console.print(f"document, whole table and picture: {folder}", soft_wrap=True)
