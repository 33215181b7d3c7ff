"""`bench graph`."""

from __future__ import annotations

from typing import Any

import click

from .console import detail_options
from .options import HeadedCommand, rank_options, run_options, step_argument
from .run import run_one_mode


@click.command(cls=HeadedCommand)
@step_argument
@run_options
@rank_options
@detail_options
def graph(**flags: Any) -> int:
    """Train and validate as compiled graphs. The run keeps the best and the last checkpoint.

    MODULE:STEP is a TrainingStep of your own (docs/your-own-step.md).

    \b
    bench graph
    bench graph --feed graph --epochs 1
    """
    return run_one_mode("graph", flags)
