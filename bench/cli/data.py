"""`bench data make|import|inspect|reshard`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Optional, Tuple

import click

from ...data import DataError, Wishes, import_dataset, inspect_dataset, make_digits, reshard_dataset
from ...data.sources.recognition import FORMATS
from ..errors import EXIT_BAD_INPUT, EXIT_DONE, InputError, raise_as_input
from ..report.blocks import print_blocks
from ..report.screen import describe_dataset
from .console import Console, ProgressBar
from .failures import end_on_signals, say

out_option = click.option("--out", required=True, metavar="DIR", help="Folder to create.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _DataGroup(click.Group):
    """Shows an error of the data as bad input, and cleans up when it is ended by a signal."""

    def invoke(self, ctx: click.Context) -> Any:
        end_on_signals()
        with raise_as_input(DataError):
            return super().invoke(ctx)


@click.group(cls=_DataGroup)
def data() -> None:
    """Make, import, inspect and reshard OFRecord datasets.

    \b
    bench data make digits --out digits
    bench data import imagenette2 --out imagenette-ofrecord
    bench data inspect digits
    bench data reshard digits --parts 4 --out digits-4
    """


@data.group()
def make() -> None:
    """Make a dataset from the data of a Python package."""


@make.command("digits")
@out_option
@json_option
def make_digits_command(out: str, as_json: bool) -> int:
    """scikit-learn's 1,797 handwritten digits as JPEG in OFRecord, split into train and val.

    \b
    bench data make digits --out digits
    """
    with ProgressBar("images") as bar:
        make_digits(Path(out), on_progress=partial(bar, "digits"))
    return _inspect(out, as_json, scan=False)


@data.command("import")
@click.argument("source", nargs=-1, required=True, metavar="[FORMAT] SOURCE")
@out_option
@click.option("--val-fraction", type=click.FloatRange(0, 1, True, True),
              help="Share of each class to validate on, if SOURCE has no such split.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Seed of --val-fraction.")  # fmt: skip
@click.option(
    "--flips/--no-flips",
    default=None,
    help="Mirror at random. Default: not where classes are digits or letters.",
)
@click.option(
    "--crops/--no-crops", default=None, help="Crop at random. Default: not for arrays of pixels."
)
@click.option(
    "--class-names", metavar="FILE", help="Names of the classes, or lines of a class and its name."
)
@click.option("--image-key", metavar="KEY", help="Record key, column or array of the pictures.")
@click.option(
    "--label-key", metavar="KEY", help="Record key, column, columns or array of the labels."
)
@click.option(
    "--label-base", type=click.IntRange(0), metavar="N", help="Least label of SOURCE. It becomes 0."
)
@click.option(
    "--parts",
    type=click.IntRange(1),
    help="Part files per split. Default: 4, or as many as the smallest split has pictures.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes. Default: one a core.")
@click.option("--skip-unreadable", is_flag=True, help="Leave out files that cannot be read.")
@json_option
def import_command(
    source: Tuple[str, ...],
    out: str,
    parts: Optional[int],
    workers: Optional[int],
    skip_unreadable: bool,
    as_json: bool,
    **wishes: Any,
) -> int:
    """Turn a dataset in a published layout into OFRecord, and say what it was taken for.

    SOURCE is a folder or file. FORMAT is only needed where a wrong one is recognised: cifar, idx,
    tiny-imagenet, faces, arrays, csv, ofrecord or imagefolder.

    \b
    bench data import imagenette2 --out imagenette-ofrecord --parts 8
    bench data import cifar-10-batches-py --out cifar10
    bench data import flowers.csv --val-fraction 0.1 --out flowers
    """
    *form, path = source
    if len(form) > 1 or not set(form) <= set(FORMATS):
        raise InputError(
            f"{' '.join(form)} is no format and was given before {path}; give one of "
            f"{', '.join(FORMATS)}, or the source alone"
        )
    with ProgressBar("images") as bar:
        import_dataset(
            Path(path),
            Path(out),
            Wishes(next(iter(form), None), **wishes),
            parts,
            workers,
            on_progress=partial(bar, "pictures"),
            skip_unreadable=skip_unreadable,
            on_note=bar.print_line,
        )
    return _inspect(out, as_json, scan=False)


@data.command("inspect")
@click.argument("folder")
@json_option
def inspect_command(folder: str, as_json: bool) -> int:
    """Count, measure and check every record of a dataset. The exit status is 2 if it has problems.

    \b
    bench data inspect digits
    """
    return _inspect(folder, as_json)


@data.command("reshard")
@click.argument("dataset")
@click.option("--parts", type=click.IntRange(1), required=True,
              help="Part files per split: one a rank.")  # fmt: skip
@out_option
@click.option("--label-base", type=click.IntRange(0), default=0, show_default=True,
              help="Least label of DATASET. It becomes 0.")  # fmt: skip
@json_option
def reshard_command(dataset: str, parts: int, out: str, label_base: int, as_json: bool) -> int:
    """Write DATASET again in another number of part files.

    Records stay as they are, and --label-base lowers their labels. Record i goes to part i mod
    PARTS. Without shuffling, PARTS ranks then read together in a step the records that one process
    reads of DATASET in that step.

    \b
    bench data reshard digits --parts 4 --out digits-4
    """
    with ProgressBar("records") as bar:
        written = reshard_dataset(Path(dataset), parts, Path(out), bar, label_base)
    if as_json:
        click.echo(json.dumps(written, indent=1))
        return EXIT_DONE
    for split, described in written["splits"].items():
        counts = [part["num_samples"] for part in described["parts"]]
        low, high = min(counts), max(counts)
        each = f"{low}" if low == high else f"{low} to {high}"
        click.echo(f"{split:6}{described['num_samples']} images, {each} in each of {parts} parts")
    click.echo(f"written to {written['path']}")
    return EXIT_DONE


def _inspect(folder: str, as_json: bool, scan: bool = True) -> int:
    """Print the description of a dataset, and its problems."""
    description = inspect_dataset(Path(folder), scan)
    if as_json:
        click.echo(json.dumps(description, indent=1))
    else:
        print_blocks(describe_dataset(description), Console())
        for problem in description["problems"]:
            say(f"problem: {problem}")
    return EXIT_BAD_INPUT if description["problems"] else EXIT_DONE
