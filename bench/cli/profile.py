"""`bench profile`: the time of each layer."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional

import click

from ..errors import EXIT_DONE, InputError
from .options import HeadedCommand, create_contenders, step_options
from .progress import ProgressBar

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from ..tools.limits.document import LimitsDocument
    from ..tools.profile.document import ProfileDocument

_PLAN_FLAGS = ("model", "model_args", "data", "batch_size", "image_size", "num_classes")


@click.command(cls=HeadedCommand)
@step_options
@click.option("--mode", type=click.Choice(["eager", "graph"]), default="eager", show_default=True)
@click.option(
    "--data", default="synthetic", show_default=True, help="Dataset folder, or 'synthetic'."
)
@click.option(
    "--iterations", type=click.IntRange(1), default=10, show_default=True, help="Profiled steps."
)
@click.option(
    "--warmup", type=click.IntRange(0), default=2, show_default=True, help="Steps before."
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="CUDA has not been run.",
)
@click.option(
    "--limits",
    default=None,
    metavar="DIR",
    help="Folder of a `bench limits` of the same step: adds each layer's share of the limit.",
)
def profile(**flags: Any) -> int:
    """Time each layer's forward and backward; writes a table, a picture and a Chrome trace.

    With --mode graph each layer is compiled alone, since the whole graph tells no times of its
    parts on a CPU; operators before and after compiling are counted.

    \b
    bench profile --model alexnet
    bench profile --model resnet18 --mode graph --image-size 64 --batch-size 4
    """  # fmt: skip
    from ..plan.plan import create_plan
    from ..record.documents import create_run_folder
    from ..tools.limits.profile_times import limit_shares

    given = {name: flags[name] for name in _PLAN_FLAGS}
    plan = create_plan({**given, "feed": "memory", "val_batch_size": 1})
    limits = _load_limits(plan, flags["limits"]) if flags["limits"] is not None else None
    now = datetime.now(timezone.utc)
    model = plan.workload.model.replace(":", "-")
    folder = Path(flags["out"] or f"results/profile-{model}-{now:%Y%m%d-%H%M%S}")
    create_run_folder(folder)
    try:
        document = _measure(plan, flags, folder, now.isoformat(timespec="seconds"))
        shares = None if limits is None else limit_shares(document, limits)
    except InputError:  # refused by the worker: nothing was measured
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _report(document, shares, folder, flags["top"], flags["as_json"])
    return EXIT_DONE


def _load_limits(plan: Plan, path: str) -> LimitsDocument:
    from ..tools.limits.document import load_limits
    from ..tools.limits.profile_times import check_limits

    limits = load_limits(Path(path))
    check_limits(limits, plan.workload)
    return limits


def _measure(plan: Plan, flags: Dict[str, Any], folder: Path, created: str) -> ProfileDocument:
    from ..tools.profile.run import run_profile
    from ..worker.environment import RuntimeResolver
    from ..worker.launch import create_launcher

    environments = RuntimeResolver()
    (contender,) = create_contenders([flags["mode"]], flags, environments)
    launch = create_launcher(folder, environments, "oneflow_bench.bench.tools.profile.worker")
    with ProgressBar("") as bar:
        return run_profile(
            plan.workload,
            plan.dataset.root if plan.dataset else None,
            contender,
            launch,
            flags["iterations"],
            flags["warmup"],
            flags["timeout_s"],
            created,
            bar,
        )


def _report(
    document: ProfileDocument,
    shares: Optional[Dict[str, float]],
    folder: Path,
    top: Optional[int],
    as_json: bool,
) -> None:
    from rich.console import Console

    from ..record.run import write_atomically
    from ..tools.profile.plot import render_profile_picture
    from ..tools.profile.report import render_profile, save_profile_table
    from ..tools.profile.trace import create_trace

    write_atomically(folder / "profile.json", document.model_dump_json(indent=1) + "\n")
    write_atomically(folder / "trace.json", json.dumps(create_trace(document)) + "\n")
    save_profile_table(document, folder / "layers.txt", shares)
    render_profile_picture(document, folder)
    if as_json:
        click.echo(document.model_dump_json(indent=1))
        return
    console = Console()
    render_profile(document, console, top, shares)
    console.print(f"profile, whole table, trace and picture: {folder}", soft_wrap=True)
