"""How data-parallel training scales to more ranks, calculated from one rank's profile and a link.

    python benchmarks/calculate_scaling.py --profile DIR --bandwidth 1.25e9 --latency 5e-5
    python benchmarks/calculate_scaling.py --profile DIR --all-reduce two-ranks.json --ranks 2,4

DIR is the folder of a `bench profile`. Nothing is measured. The step of N ranks is the step of one
plus the all-reduces that the backward pass does not hide. The assumptions are printed too.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

from scaling.gradients import DDP_BUCKET_PARAMETERS, BucketRule, create_buckets, read_step
from scaling.link import Algorithm, Link, LinkFit, create_link, fit_link, load_all_reduce
from scaling.model import ScalingDocument, Setting, describe_assumptions, predict
from scaling.report import report_scaling
from study import run_main

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.report.blocks import print_blocks
from oneflow_bench.bench.tools.profile.document import load_profile


class Options(NamedTuple):
    """The options of a calculation. The parser below describes each."""

    profile: Path
    ranks: Sequence[int]
    bandwidth: Optional[float] = None
    latency: Optional[float] = None
    all_reduce: Optional[Path] = None
    algorithm: Algorithm = "ring"
    bytes_per_parameter: int = 4
    bucket_parameters: Optional[int] = None
    bucket_bytes: Optional[int] = None
    floor: float = 0.0
    global_batch_size: Optional[int] = None


def calculate(options: Options) -> ScalingDocument:
    """Raises InputError for options that do not fit each other or the profile."""
    link, fit = _read_link(options)
    profile = load_profile(options.profile)
    step = read_step(profile, options.bytes_per_parameter)
    setting = Setting(
        link=link,
        algorithm=options.algorithm,
        rule=_create_rule(options, profile.mode),
        batch_size=profile.batch_size,
        global_batch_size=options.global_batch_size or profile.batch_size,
        floor_s=options.floor,
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
        bytes_per_parameter=options.bytes_per_parameter,
        bucket_rule=setting.rule,
        buckets=len(create_buckets(step.gradients, setting.rule)),
        gradient_bytes=sum(gradient.size_bytes for gradient in step.gradients),
        floor_s=setting.floor_s,
        global_batch_size=setting.global_batch_size,
        predictions=predict(step, setting, options.ranks),
        assumptions=describe_assumptions(step, setting, profile.mode),
    )


def _read_link(options: Options) -> Tuple[Link, Optional[LinkFit]]:
    """The link given by its numbers, or fitted to measured all-reduces."""
    if options.all_reduce is not None:
        if options.bandwidth is not None or options.latency is not None:
            raise InputError(
                "--all-reduce was given with --bandwidth or --latency, which are fitted to it; "
                "give the one or the others"
            )
        fit = fit_link(load_all_reduce(options.all_reduce), options.algorithm)
        return fit.link, fit
    if options.bandwidth is None:
        raise InputError(
            "no link was given; give --bandwidth (and --latency), or --all-reduce FILE with "
            "measured all-reduces"
        )
    return create_link(options.latency or 0.0, options.bandwidth), None


def _create_rule(options: Options, mode: str) -> BucketRule:
    parameters, size_bytes = options.bucket_parameters, options.bucket_bytes
    if parameters is not None and size_bytes is not None:
        raise InputError(
            "--bucket-parameters and --bucket-bytes were both given; give one of the two rules"
        )
    if parameters is None and size_bytes is None:
        parameters, size_bytes = (DDP_BUCKET_PARAMETERS, None) if mode == "eager" else (None, 0)
    return BucketRule(parameters=parameters, size_bytes=size_bytes)


def _parse_count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


def _parse_ranks(text: str) -> List[int]:
    return [_parse_count(part) for part in text.split(",")]


def parse_options(arguments: Optional[Sequence[str]] = None) -> Tuple[Options, bool]:
    """The options, and whether JSON is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", type=Path, required=True, help="folder of a `bench profile`, "
                        "or its profile.json; its mode is the one calculated")  # fmt: skip
    parser.add_argument("--ranks", type=_parse_ranks, default=[2, 8, 64, 1024], metavar="N,N,...")
    parser.add_argument("--bandwidth", type=float, help="of a rank's link, in bytes a second")
    parser.add_argument("--latency", type=float, help="of a message, in seconds; default: 0")
    parser.add_argument("--all-reduce", type=Path, metavar="FILE",
                        help="measured all-reduces, to which the link is fitted")  # fmt: skip
    parser.add_argument("--algorithm", choices=["ring", "tree"], default="ring")
    parser.add_argument("--bytes-per-parameter", type=_parse_count, default=4)
    parser.add_argument("--bucket-parameters", type=_parse_count, help="gradients reduced "
                        "together; default: 10 in eager mode, as DDP does")  # fmt: skip
    parser.add_argument("--bucket-bytes", type=int, help="most bytes reduced together; 0: each "
                        "gradient by itself; default: 0 in graph mode")  # fmt: skip
    parser.add_argument("--floor", type=float, default=0.0, help="seconds of a step that the batch "
                        "size does not change; `bench sweep` fits it")  # fmt: skip
    parser.add_argument("--global-batch-size", type=_parse_count, help="images that strong scaling "
                        "divides; default: the profile's batch size")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the document")
    given = vars(parser.parse_args(arguments))
    as_json = given.pop("json")
    return Options(**given), as_json


def print_calculation(options: Options, as_json: bool) -> None:
    from rich.console import Console

    document = calculate(options)
    if as_json:
        print(document.model_dump_json(indent=1))
    else:
        print_blocks(report_scaling(document), Console())


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options, as_json = parse_options(arguments)
    return run_main(lambda: print_calculation(options, as_json))


if __name__ == "__main__":
    sys.exit(main())
