"""`bench infer`: classify pictures, or predict with a `TrainingStep`, eagerly and as a graph."""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Sequence, Tuple

import click

from ...data import DataError, find_pictures, load_labels
from ..config import STEP_DATA
from ..errors import (
    EXIT_BAD_INPUT,
    EXIT_DIFFERENT,
    EXIT_DONE,
    InputError,
    WorkerError,
    raise_as_input,
)
from ..plan.fields import SETTINGS
from ..plan.plan import create_plan
from ..record.checkpoint import describe_prefix
from ..report.blocks import print_blocks
from ..tools.inference.plan import create_inference_plan
from ..tools.inference.run import report_inference, run_inference
from ..tools.inference.step import StepInference, report_step_inference, run_step_inference
from ..worker.environment import RuntimeResolver
from ..worker.process import create_launcher
from .console import Console, ProgressBar
from .failures import say
from .options import HeadedCommand, create_contenders, describe_field, field_options, find_given
from .value_types import RunFolder, ValueList

_STEP = re.compile(r"\w+(\.\w+)*:[A-Za-z_]\w*")  # module:step
_WORKER = "oneflow_bench.bench.tools.inference.worker"
_OF_IMAGES = ("model", "labels", "top", "image_size", "num_classes")


@click.command(cls=HeadedCommand)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...|MODULE:STEP")
@click.option("--model", help="Default: the checkpoint's.")
@field_options(["model_args", "trust_checkpoint"])
@click.option("--load-checkpoint", type=RunFolder(), metavar="PATH",
              help=describe_field("load_checkpoint"))  # fmt: skip
@click.option(
    "--mode", type=click.Choice(["eager", "graph", "both"]), default="eager", show_default=True
)
@click.option(
    "--labels",
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
@click.option(
    "--batch-size",
    "batch_sizes",
    type=ValueList(click.IntRange(1)),
    default=(),
    help="Images in one batch. A TrainingStep takes several sizes, by commas, and its own batch "
    "without any. Default: 1.",
)
@field_options(
    ["image_size", "num_classes", "device", "runtime", "blas", "timeout_s"],
    {"timeout_s": SETTINGS["timeout_s"].default},
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
    agree. A file that is no picture is named and left out, and the exit status is 2. It is 2 too
    if outputs are NaN or infinite. MODULE:STEP is a TrainingStep of your own
    (docs/your-own-step.md); its forward is timed by batch size.

    \b
    bench infer digit.png --load-checkpoint results/RUN
    bench infer photos/ --model alexnet --load-checkpoint alexnet.safetensors --mode both
    bench infer my_file:gpt --mode both --batch-size 1,8,32
    """  # fmt: skip
    sizes: Tuple[int, ...] = flags.pop("batch_sizes")
    if len(images) == 1 and _STEP.fullmatch(images[0]) and not Path(images[0]).exists():
        return _infer_step(images[0], sizes, flags)
    if flags["load_checkpoint"] is None:
        raise InputError("pictures were given without --load-checkpoint; give the trained weights")
    if len(sizes) > 1:
        raise InputError(
            f"--batch-size {','.join(map(str, sizes))} was given for pictures; give one size, or a "
            "TrainingStep as MODULE:STEP"
        )
    flags["batch_size"] = sizes[0] if sizes else 1
    with raise_as_input(DataError):
        paths = find_pictures(images)
        labels = load_labels(Path(flags["labels"])) if flags["labels"] else None
    plan = create_inference_plan(flags, labels)
    if not plan.workload.trust_checkpoint:
        for note in describe_prefix(Path(flags["load_checkpoint"])):
            click.echo(f"note: {note}", err=True)
    environments = RuntimeResolver()
    contenders = create_contenders(flags["mode"], flags, environments)
    with _kept_if_failed() as logs, ProgressBar("") as bar:
        launch = create_launcher(logs, environments, _WORKER)
        result = run_inference(plan, paths, contenders, launch, bar)
    if flags["as_json"]:
        click.echo(result.model_dump_json(indent=1))
    else:
        print_blocks(report_inference(result), Console())
    for sentence in result.skipped:
        say(f"skipped: {sentence}")
    differs = result.agreement is not None and not result.agreement.agrees
    if result.skipped or (result.not_finite and not differs):
        return EXIT_BAD_INPUT
    return EXIT_DIFFERENT if differs else EXIT_DONE


@contextmanager
def _kept_if_failed() -> Iterator[Path]:
    """A temporary folder of logs. It stays where a worker failed, whose error names its log."""
    folder, stays = Path(tempfile.mkdtemp(prefix="bench-infer-")), False
    try:
        yield folder
    except WorkerError:
        stays = True
        raise
    finally:
        if not stays:
            shutil.rmtree(folder, ignore_errors=True)


def _infer_step(step: str, batch_sizes: Tuple[int, ...], flags: Dict[str, Any]) -> int:
    given = find_given(_OF_IMAGES)
    if given:
        raise InputError(
            f"{given} was given with the TrainingStep {step} and is of pictures; leave it out"
        )
    result = time_step(step, batch_sizes, flags)
    if flags["as_json"]:
        click.echo(result.model_dump_json(indent=1))
    else:
        print_blocks(report_step_inference(result), Console())
    return EXIT_DONE if result.agrees else EXIT_DIFFERENT


def time_step(step: str, batch_sizes: Sequence[int], flags: Dict[str, Any]) -> StepInference:
    """Plan and run the inference of a `TrainingStep`. Raises InputError and WorkerError."""
    whole = [type(size) is int and size > 0 for size in batch_sizes]
    if not all(whole):
        raise InputError(
            f"batch_sizes={tuple(batch_sizes)} was given and whole numbers from 1 on are expected"
        )
    taken = {name: flags[name] for name in ("model_args", "load_checkpoint", "trust_checkpoint")}
    plan = create_plan({**taken, "model": step, "data": STEP_DATA})
    for note in plan.notes:
        click.echo(f"note: {note}", err=True)
    environments = RuntimeResolver()
    with _kept_if_failed() as logs, ProgressBar("") as bar:
        return run_step_inference(
            plan.workload,
            batch_sizes,
            flags["iterations"],
            create_contenders(flags["mode"], flags, environments),
            create_launcher(logs, environments, _WORKER),
            flags["timeout_s"],
            bar,
        )
