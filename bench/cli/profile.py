"""`bench profile`: the time of each layer, and with --limits the least possible time beside it."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import click

from ..config import STEP_DATA
from ..errors import EXIT_DONE, EXIT_WORKER_FAILED, InputError
from ..plan.fields import flag_of
from ..plan.plan import Plan, create_plan
from ..record.run import create_run_id, write_atomically
from ..report.blocks import print_blocks
from ..tools.profile.document import (
    LimitsDocument,
    ProfileDocument,
    check_limits,
    layer_rows,
    load_limits,
)
from ..tools.profile.report import report_profile, save_report
from ..tools.profile.run import (
    check_torch_python,
    create_torch_launcher,
    measure_limits,
    run_profile,
)
from ..tools.profile.steps import Fleet
from ..worker.environment import RuntimeResolver
from ..worker.process import create_launcher
from .console import Console, ProgressBar, fresh_run_folder
from .failures import go_on_without
from .options import (
    STEP_DEFAULTS,
    HeadedCommand,
    create_contenders,
    decorated,
    step_argument,
    step_options,
    take_step,
)

_PLAN_FLAGS = ("model", "model_args", "data", "batch_size", "image_size", "num_classes")
_LIMITS_FLAGS = ("torch_python", "loss_steps", "blocks")  # of --limits without a folder
_NAME = "profile.json"
_MEASURE = ""  # the value of --limits without a folder


_options = decorated(*[
    click.option("--mode", type=click.Choice(["eager", "graph", "both"]),
                 help="Default: eager. With --limits it is both, and the layers are profiled in "
                 "eager mode."),
    click.option("--iterations", type=click.IntRange(1), default=10, show_default=True,
                 help="Profiled steps."),
    click.option("--warmup", type=click.IntRange(0), default=2, show_default=True,
                 help="Steps before."),
    click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True,
                 help="CUDA has not been run."),
    click.option("--limits", is_flag=False, flag_value=_MEASURE, metavar="[DIR]",
                 help="Measure the machine's limits too, and show the share of them that each "
                 "layer and step reaches. With DIR: take them from a stored profile of the step."),
    click.option("--torch-python", metavar="PATH",
                 help="With --limits: run the same step by this Python interpreter, which has "
                 "PyTorch."),
    click.option("--loss-steps", type=click.IntRange(1),
                 help="With --torch-python: steps whose losses are compared. Default: 10."),
    click.option("--blocks", type=click.IntRange(1),
                 help="With --limits: timed blocks of steps of each contender. Default: 12."),
])  # fmt: skip


@click.command(cls=HeadedCommand)
@step_argument
@step_options
@_options
def profile(**flags: Any) -> int:
    """Time each layer's forward and backward; writes a table, a picture and a Chrome trace.

    With --mode graph each layer is compiled alone, since the whole graph tells no times of its
    parts on a CPU; operators before and after compiling are counted. With --limits the step's
    operations and least bytes are held to the machine's measured ceilings. MODULE:STEP is a
    TrainingStep of your own (docs/your-own-step.md).

    \b
    bench profile --model alexnet
    bench profile my_file:gpt --mode graph
    bench profile --model resnet18 --mode graph --image-size 64 --batch-size 4
    bench profile --model resnet18 --image-size 64 --limits --torch-python ~/torch/bin/python
    """  # fmt: skip
    take_step(flags)
    document, stored, folder = profile_step(flags)
    if flags["as_json"]:
        click.echo(document.model_dump_json(indent=1))
    else:
        console = Console()
        print_blocks(report_profile(document, flags["top"], console.width, stored), console)
        console.print(f"profile, whole table, trace and pictures: {folder}", soft_wrap=True)
    with go_on_without("the table and the pictures", f"{folder / _NAME} has the result"):
        write_profile(document, stored, folder)
    steps = document.limits.steps if document.limits is not None else []
    failed = any(step.name == "torch eager" and step.error for step in steps)
    return EXIT_WORKER_FAILED if failed else EXIT_DONE


def profile_step(flags: Dict[str, Any]) -> Tuple[ProfileDocument, Optional[LimitsDocument], Path]:
    """Plan, measure and store a profile: the document, stored limits if given, and its folder.

    Raises InputError for what cannot be profiled, and WorkerError for a process that failed.
    """
    measures_limits = flags["limits"] == _MEASURE
    fixed: Dict[str, Any] = {"schedule": "constant"}
    if flags["data"] != STEP_DATA:
        given = {name: value for name, value in flags.items() if value is not None}
        flags = {**flags, **STEP_DEFAULTS, **given}
        fixed.update(feed="memory", val_batch_size=1)
    _check_flags(flags, measures_limits)
    plan = create_plan({**{name: flags[name] for name in _PLAN_FLAGS}, **fixed})
    stored = load_limits(Path(flags["limits"])) if flags["limits"] else None
    if stored is not None:
        check_limits(stored, plan.workload)
    if flags["torch_python"] is not None:
        check_torch_python(flags["torch_python"])
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    folder = Path(flags["out"] or f"results/{create_run_id('profile', plan.workload.model)}")
    with fresh_run_folder(folder):
        document = _measure(plan, flags, measures_limits, folder, created)
        layer_rows(document, stored)  # refuses limits of other layers
        write_atomically(folder / _NAME, document.model_dump_json(indent=1) + "\n")
    return document, stored, folder


def _check_flags(flags: Dict[str, Any], measures_limits: bool) -> None:
    """Raise InputError for flags that do not go with --limits, or not without it."""
    if flags["data"] == STEP_DATA and flags["limits"] is not None:
        raise InputError(
            f"--limits was given with the TrainingStep {flags['model']} and counts the operations "
            "of image classifiers alone; leave it out for the times of the layers"
        )
    if not measures_limits:
        given = [flag_of(name) for name in _LIMITS_FLAGS if flags[name] is not None]
        given += ["--mode both"] if flags["mode"] == "both" else []
        if given:
            raise InputError(
                f"{given[0]} was given, which belongs to the measurement of limits; add --limits "
                "without a folder"
            )
        return
    for name, value in (("data", "synthetic"), ("device", "cpu")):
        if flags[name] != value:
            raise InputError(
                f"--{name} {flags[name]} was given with --limits, which measures on --{name} "
                f"{value}; leave one of the two out"
            )
    if flags["loss_steps"] is not None and flags["torch_python"] is None:
        raise InputError("--loss-steps was given without --torch-python; give both or neither")


def _measure(
    plan: Plan, flags: Dict[str, Any], measures_limits: bool, folder: Path, created: str
) -> ProfileDocument:
    environments, python = RuntimeResolver(), flags["torch_python"]
    mode = flags["mode"] or ("both" if measures_limits else "eager")
    with ProgressBar("") as bar:
        fleet = Fleet(
            plan.workload,
            create_contenders(mode, flags, environments),  # layers are profiled in the first
            create_launcher(folder, environments, "oneflow_bench.bench.tools.profile.worker"),
            None if python is None else create_torch_launcher(python, folder),
            flags["timeout_s"],
            bar,
            plan.dataset.root if plan.dataset else None,
        )
        with closing(fleet):
            splits = flags["limits"] is not None
            steps = (flags["iterations"], flags["warmup"])
            document, work = run_profile(fleet, *steps, created, splits)
            if not measures_limits:
                return document
            blocks, loss_steps = flags["blocks"] or 12, flags["loss_steps"] or 10
            limits = measure_limits(fleet, work, blocks, loss_steps, created)
    return document.model_copy(update={"limits": limits})


def write_profile(
    document: ProfileDocument, stored: Optional[LimitsDocument], folder: Path
) -> None:
    """The whole table, the trace and the pictures, beside the stored profile."""
    from ..tools.profile.pictures import create_trace, render_layers, render_roofline

    save_report(report_profile(document, limits=stored), folder / "layers.txt")
    write_atomically(folder / "trace.json", json.dumps(create_trace(document)) + "\n")
    render_layers(document, folder)
    limits = stored or document.limits
    if limits is not None:
        render_roofline(document, limits, folder)
