"""`bench scaling`: how training scales to more ranks, calculated from one rank's step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple

import click

from ..errors import EXIT_DONE, InputError
from .value_types import ValueList

if TYPE_CHECKING:
    from ..tools.scaling.gradients import BucketRule
    from ..tools.scaling.link import Link, LinkFit
    from ..tools.scaling.model import ScalingDocument


@click.command()
@click.option(
    "--profile",
    required=True,
    metavar="FILE",
    help="profile.json of a `bench profile`, or its folder; its mode is the one calculated.",
)
@click.option(
    "--ranks", type=ValueList(click.IntRange(1)), default="2,8,64,1024", show_default=True
)
@click.option("--bandwidth", type=float, help="Of a rank's link, in bytes a second.")
@click.option("--latency", type=float, help="Of a message, in seconds.  [default: 0]")
@click.option(
    "--all-reduce",
    metavar="FILE",
    help="Measured all-reduces, to which latency and bandwidth are fitted.",
)
@click.option("--algorithm", type=click.Choice(["ring", "tree"]), default="ring", show_default=True)
@click.option("--bytes-per-parameter", type=click.IntRange(1), default=4, show_default=True)
@click.option(
    "--bucket-parameters",
    type=click.IntRange(1),
    help="Gradients reduced together.  [default: 10 in eager mode, as DDP does]",
)
@click.option(
    "--bucket-bytes",
    type=click.IntRange(0),
    help="Most bytes reduced together; 0: each gradient by itself.  [default: 0 in graph mode]",
)
@click.option(
    "--floor",
    type=float,
    default=0.0,
    show_default=True,
    help="Seconds of a step that the batch size does not change (`bench sweep` fits it).",
)
@click.option(
    "--global-batch-size",
    type=click.IntRange(1),
    help="Images that strong scaling divides.  [default: the profile's batch size]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the document.")
def scaling(**flags: Any) -> int:
    """Calculate how data-parallel training scales, from one rank's profile and a link.

    Nothing is measured: the step of N ranks is that of one and what of its all-reduces the backward
    pass does not hide. What is assumed is printed with the table.

    \b
    bench scaling --profile results/profile-alexnet --bandwidth 1.25e9 --latency 5e-5
    bench scaling --profile results/profile-alexnet --all-reduce two-ranks.json --ranks 2,4
    """  # fmt: skip
    from rich.console import Console

    from ..tools.scaling.report import render_scaling

    document = _calculate(flags)
    if flags["as_json"]:
        click.echo(document.model_dump_json(indent=1))
    else:
        render_scaling(document, Console())
    return EXIT_DONE


def _calculate(flags: Dict[str, Any]) -> ScalingDocument:
    from ..tools.limits.profile_times import load_profile
    from ..tools.scaling.assumptions import describe_assumptions
    from ..tools.scaling.gradients import create_buckets, read_step
    from ..tools.scaling.model import ScalingDocument, Setting, predict

    link, fit = _read_link(flags)
    profile = load_profile(Path(flags["profile"]))
    step = read_step(profile, flags["bytes_per_parameter"])
    setting = Setting(
        link=link,
        algorithm=flags["algorithm"],
        rule=_create_rule(flags, profile.mode),
        batch_size=profile.batch_size,
        global_batch_size=flags["global_batch_size"] or profile.batch_size,
        floor_s=flags["floor"],
    )
    return ScalingDocument(
        model=profile.model,
        mode=profile.mode,
        batch_size=profile.batch_size,
        image_size=profile.image_size,
        step_time_s=step.step_time_s,
        algorithm=setting.algorithm,
        link=link,
        fit=fit,
        bytes_per_parameter=flags["bytes_per_parameter"],
        bucket_rule=setting.rule,
        buckets=len(create_buckets(step.gradients, setting.rule)),
        gradient_bytes=sum(gradient.size_bytes for gradient in step.gradients),
        floor_s=setting.floor_s,
        global_batch_size=setting.global_batch_size,
        predictions=predict(step, setting, flags["ranks"]),
        assumptions=describe_assumptions(step, setting, profile.mode),
    )


def _read_link(flags: Dict[str, Any]) -> Tuple[Link, Optional[LinkFit]]:
    """The link given by its numbers, or fitted to measured all-reduces."""
    from ..tools.scaling.link import create_link, fit_link, load_all_reduce

    by_numbers = flags["bandwidth"] is not None or flags["latency"] is not None
    if flags["all_reduce"] is not None:
        if by_numbers:
            raise InputError(
                "--all-reduce was given with --bandwidth or --latency, which are fitted to it; "
                "give the one or the others"
            )
        fit = fit_link(load_all_reduce(Path(flags["all_reduce"])), flags["algorithm"])
        return fit.link, fit
    if flags["bandwidth"] is None:
        raise InputError(
            "no link was given; give --bandwidth (and --latency), or --all-reduce FILE with "
            "measured all-reduces"
        )
    return create_link(flags["latency"] or 0.0, flags["bandwidth"]), None


def _create_rule(flags: Dict[str, Any], mode: str) -> BucketRule:
    from ..tools.scaling.gradients import DDP_BUCKET_PARAMETERS, BucketRule

    parameters, size_bytes = flags["bucket_parameters"], flags["bucket_bytes"]
    if parameters is not None and size_bytes is not None:
        raise InputError(
            "--bucket-parameters and --bucket-bytes were both given; give one of the two rules"
        )
    if parameters is None and size_bytes is None:
        parameters, size_bytes = (DDP_BUCKET_PARAMETERS, None) if mode == "eager" else (None, 0)
    return BucketRule(parameters=parameters, size_bytes=size_bytes)
