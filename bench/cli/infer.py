"""`bench infer`: classify pictures, eagerly and as a graph."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Tuple

import click

from ..errors import EXIT_BAD_INPUT, EXIT_DIFFERENT, EXIT_DONE, InputError
from ..plan.fields import SETTINGS
from ..report.blocks import print_blocks
from .console import Console
from .options import HeadedCommand, create_contenders, describe_field, field_options
from .progress import ProgressBar


@click.command(cls=HeadedCommand)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--model", default=None, help="Default: the checkpoint's.")
@field_options(["model_args", "trust_checkpoint"])
@click.option(
    "--load-checkpoint", required=True, metavar="PATH", help=describe_field("load_checkpoint")
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
    """Classify pictures, given as files, folders or patterns.

    With --mode both the modes take turns and are compared; the exit status is 1 if they do not
    agree. A file that is no picture is named and left out, and the exit status is 2.

    \b
    bench infer digit.png --load-checkpoint results/RUN
    bench infer photos/ --model alexnet --load-checkpoint alexnet.safetensors --mode both
    """  # fmt: skip
    from ...data import DataError, find_pictures, load_labels
    from ..record.checkpoint import describe_prefix
    from ..tools.inference.plan import create_inference_plan
    from ..tools.inference.run import report_inference, run_inference
    from ..worker.environment import RuntimeResolver
    from ..worker.process import create_launcher

    try:
        paths = find_pictures(images)
        labels = load_labels(Path(flags["labels"])) if flags["labels"] else None
    except DataError as error:
        raise InputError(str(error)) from None
    plan = create_inference_plan(flags, labels)
    if not plan.workload.trust_checkpoint:
        for note in describe_prefix(Path(flags["load_checkpoint"])):
            click.echo(f"note: {note}", err=True)
    environments = RuntimeResolver()
    modes = ["eager", "graph"] if flags["mode"] == "both" else [flags["mode"]]
    contenders = create_contenders(modes, flags, environments)
    with tempfile.TemporaryDirectory() as logs, ProgressBar("") as bar:
        worker = "oneflow_bench.bench.tools.inference.worker"
        launch = create_launcher(Path(logs), environments, worker)
        result = run_inference(plan, paths, contenders, launch, bar)
    if flags["as_json"]:
        click.echo(result.model_dump_json(indent=1))
    else:
        print_blocks(report_inference(result), Console())
    for sentence in result.skipped:
        click.echo(f"skipped: {sentence}", err=True)
    if result.skipped:
        return EXIT_BAD_INPUT
    differs = result.agreement is not None and not result.agreement.agrees
    return EXIT_DIFFERENT if differs else EXIT_DONE
