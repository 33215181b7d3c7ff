"""`bench graph`."""

from __future__ import annotations

from typing import Any

import click

from .options import HeadedCommand, rank_options, run_options
from .run import run_one_mode


@click.command(cls=HeadedCommand)
@run_options
@rank_options
def graph(**flags: Any) -> int:
    """Train and validate as compiled graphs. The run keeps the best and the last checkpoint.

    \b
    bench graph
    bench graph --feed graph --epochs 1
    """
    return run_one_mode("graph", flags)
