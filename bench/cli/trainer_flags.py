"""The flags of the published distillation trainer, in both of its spellings (docs/recipes.md).

They are hidden from the help. One that has a meaning here sets the field that it stands for. Each
other one is refused with a sentence about what replaces it.
"""

from __future__ import annotations

from typing import Any, Callable, Dict

import click

from ..config import LOSS_ARGUMENTS
from ..errors import InputError
from .value_types import NumberRange

_SMOOTHING = str(LOSS_ARGUMENTS["label_smoothing"]["label_smoothing"])
# arguments of the options whose flags may stand without a value, by field
VALUE_ALONE: Dict[str, Dict[str, Any]] = {
    "label_smoothing": {"is_flag": False, "flag_value": _SMOOTHING}
}


def replaced_option(
    flag: str, sentence: str, is_flag: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: a flag of before or of another program; the error is the flag and the sentence."""

    def refuse(context: click.Context, option: click.Parameter, value: Any) -> None:
        if value:
            raise InputError(f"{flag} {sentence}")

    spellings = dict.fromkeys([flag, "--" + flag[2:].replace("-", "_")])
    options: Dict[str, Any] = {"is_flag": is_flag, "hidden": True, "expose_value": False}
    return click.option(*spellings, callback=refuse, **options)


TRAINER_FLAGS = (
    click.option("--regularization", "loss", flag_value="teacher_free", hidden=True),
    click.option(
        "--self-training", "--self_training", "loss", flag_value="self_distillation", hidden=True
    ),
    click.option(
        "--label_smoothing", type=click.FLOAT, hidden=True, **VALUE_ALONE["label_smoothing"]
    ),
    click.option("-warm", "--warm", "warmup_epochs", type=NumberRange(0), hidden=True),
    replaced_option(
        "--double-training",
        "is of the published trainer: give --load-checkpoint with the weights trained before",
        is_flag=True,
    ),
    replaced_option(
        "--pt-teacher",
        "is of the published trainer: give --teacher-checkpoint with the poorly trained weights",
        is_flag=True,
    ),
    replaced_option(
        "--restore-file",
        "is of the published trainer: give --load-checkpoint to start from weights, or --resume to "
        "continue a run",
    ),
)
