"""`bench eager`."""

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
def eager(**flags: Any) -> int:
    """Train and validate in eager mode. The run keeps the best and the last checkpoint.

    MODULE:STEP is a TrainingStep of your own (docs/your-own-step.md).

    \b
    bench eager
    bench eager --model resnet18 --data synthetic --image-size 64 --steps-per-epoch 5
    bench eager --ranks 2
    """
    return run_one_mode("eager", flags)
