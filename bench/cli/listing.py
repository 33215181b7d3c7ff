"""`bench models`."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("pattern", default="*")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(pattern: str, as_json: bool) -> None:
    """List the models whose name fits PATTERN (with wildcards).

    \b
    bench models
    bench models 'resnet*'
    """
    from oneflow_bench.errors import InputError
    from oneflow_bench.models import get_model_spec, list_models

    names = list_models(pattern)
    if not names:
        raise InputError(f"no model's name fits '{pattern}'; bench models lists them all")
    specs = [get_model_spec(name) for name in names]
    columns = ("name", "family", "stem", "num_params", "default_image_size", "min_image_size")
    rows = [{column: getattr(spec, column) for column in columns} for spec in specs]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(caption="parameters at the default number of classes; sizes in pixels")
    for title in ("model", "family", "stem", "parameters", "image size", "minimum"):
        table.add_column(title, justify="left" if title in ("model", "family", "stem") else "right")
    for row in rows:
        table.add_row(
            row["name"],
            row["family"],
            row["stem"],
            f"{row['num_params']:,}",
            str(row["default_image_size"]),
            str(row["min_image_size"]),
        )
    Console().print(table)
