"""`bench models`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ...models import get_model_spec, list_models
from ..errors import InputError
from ..report.blocks import Table, Text, print_blocks
from .console import Console

CAPTION = (
    "parameters at the default number of classes; MACs (multiply-adds) for one image of the "
    "default size; sizes in pixels"
)


@click.command()
@click.argument("pattern", default="*")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(pattern: str, as_json: bool) -> None:
    """List the models whose name fits PATTERN (with wildcards).

    Parameters are at the default number of classes, multiply-adds (of convolutions and linear
    layers) for one image of the default size.

    \b
    bench models
    bench models 'resnet*'
    """
    names = list_models(pattern)
    if not names:
        raise InputError(f"no model's name fits '{pattern}'; bench models lists them all")
    specs = [get_model_spec(name) for name in names]
    if as_json:
        found = [{**asdict(spec), "paper": spec.paper} for spec in specs]
        click.echo(json.dumps(found, indent=1))
        return

    numbers = ["parameters", "MACs, M", "size", "smallest"]
    rows = [
        [
            spec.name,
            spec.stem,
            f"{spec.num_params:,}",
            f"{spec.num_macs / 1e6:,.1f}",
            str(spec.default_image_size),
            str(spec.min_image_size),
        ]
        for spec in specs
    ]
    table = Table(["model", "stem", *numbers], rows, right=numbers)
    print_blocks([table, Text([CAPTION])], Console())
