"""`bench infer`: classify pictures, eagerly and as a graph."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import click

from ..errors import EXIT_BAD_INPUT, EXIT_DIFFERENT, EXIT_DONE, InputError
from ..plan.fields import SETTINGS
from .options import HeadedCommand, create_contenders, describe_field, field_options
from .progress import ProgressBar

if TYPE_CHECKING:
    from ..tools.inference.run import InferencePlan, InferenceResult

_PLAN_FLAGS = (
    "model",
    "model_args",
    "load_checkpoint",
    "trust_checkpoint",
    "image_size",
    "num_classes",
    "batch_size",
)


@click.command(cls=HeadedCommand)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--model", default=None, help="Default: the checkpoint's.")
@field_options(["model_args", "trust_checkpoint"])
@click.option(
    "--load-checkpoint",
    required=True,
    metavar="PATH",
    help=describe_field("load_checkpoint"),
)
@click.option(
    "--mode", type=click.Choice(["eager", "graph", "both"]), default="eager", show_default=True
)
@click.option(
    "--labels",
    default=None,
    metavar="FILE",
    help="Names of the classes, one a line. Default: the checkpoint's, or ImageNet's.",
)
@click.option(
    "--top",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Classes shown for each picture.",
)
@field_options(
    ["image_size", "num_classes", "batch_size", "device", "runtime", "timeout_s"],
    {"batch_size": 1, "timeout_s": SETTINGS["timeout_s"].default},
    {name: "the checkpoint's, or the model's own" for name in ("image_size", "num_classes")},
)
@click.option(
    "--iterations",
    type=click.IntRange(2),
    default=20,
    show_default=True,
    help="Timed passes after the first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def infer(images: Tuple[str, ...], **flags: Any) -> int:
    """Say what is on pictures: files, folders, or patterns.

    With --mode both the two modes take turns and are compared; exit status 1 when they do not
    agree. A file that is no picture is named and left out, and the exit status is 2.

    \b
    bench infer digit.png --load-checkpoint results/RUN
    bench infer photos/ --model alexnet --load-checkpoint alexnet.safetensors --mode both
    """  # fmt: skip
    from ...data import DataError, find_pictures, load_labels
    from ..tools.inference.run import create_inference_plan

    try:
        paths = find_pictures(images)
        labels = load_labels(Path(flags["labels"])) if flags["labels"] else None
    except DataError as error:
        raise InputError(str(error)) from None
    plan = create_inference_plan({name: flags[name] for name in _PLAN_FLAGS}, labels)
    result = _run(plan, paths, flags)
    if flags["as_json"]:
        click.echo(result.model_dump_json(indent=1))
    else:
        _print(result)
    for sentence in result.skipped:
        click.echo(f"skipped: {sentence}", err=True)
    if result.skipped:
        return EXIT_BAD_INPUT
    differs = result.agreement is not None and not result.agreement.agrees
    return EXIT_DIFFERENT if differs else EXIT_DONE


def _run(plan: InferencePlan, paths: List[Path], flags: Dict[str, Any]) -> InferenceResult:
    from ..tools.inference.run import run_inference
    from ..worker.environment import RuntimeResolver
    from ..worker.launch import create_launcher

    modes = ["eager", "graph"] if flags["mode"] == "both" else [flags["mode"]]
    environments = RuntimeResolver()
    contenders = create_contenders(modes, flags, environments)
    with tempfile.TemporaryDirectory() as logs, ProgressBar("") as bar:
        launch = create_launcher(
            Path(logs), environments, "oneflow_bench.bench.tools.inference.worker"
        )
        return run_inference(
            plan,
            paths,
            contenders,
            launch,
            min(flags["top"], plan.workload.num_classes),
            flags["iterations"],
            flags["timeout_s"],
            bar,
        )


def _print(result: InferenceResult) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from ..report.tables import format_probability, inference_time_rows

    console = Console()
    table = Table(title=f"{result.model}: what is on the pictures", title_justify="left")
    modes = [times.mode for times in result.times]
    table.add_column("picture", overflow="fold")
    table.add_column("class", overflow="fold")
    for mode in modes:
        table.add_column(mode, justify="right")
    for start in range(0, len(result.predictions), len(modes)):
        of_picture = result.predictions[start : start + len(modes)]
        by_mode = [dict(zip(p.classes, p.probabilities)) for p in of_picture]
        for rank, (number, name) in enumerate(zip(of_picture[0].classes, of_picture[0].names)):
            shown = [format_probability(values.get(number)) for values in by_mode]
            picture = escape(of_picture[0].picture) if rank == 0 else ""
            table.add_row(picture, escape(name), *shown)
    console.print(table)
    timing = Table(title=f"Times, {result.batch_size} picture(s) a pass", title_justify="left")
    timing.add_column("")
    for mode in modes:
        timing.add_column(mode, justify="right")
    for row in inference_time_rows(result.times):
        timing.add_row(*row)
    console.print(timing)
    if result.agreement is not None:
        console.print(_say_agreement(result), soft_wrap=True)


def _say_agreement(result: InferenceResult) -> Optional[str]:
    found = result.agreement
    assert found is not None
    said = "agree" if found.agrees else "do not agree"
    if found.bitwise_equal:
        return f"The modes {said}: all outputs are bitwise equal."
    return (
        f"The modes {said}: the best class is the same for {found.same_top1} of {found.pictures} "
        f"pictures; probabilities differ by at most {found.max_probability_difference:.3g}."
    )
