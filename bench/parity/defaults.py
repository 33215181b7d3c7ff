"""What a check trains unless flags or a recipe say otherwise.

Small, so that a pull request can wait for it, and long enough for what needs time to show: six
steps in three epochs, a decay of the learning rate after four of them, a checkpoint after three, a
validation pass at the end. The rate is halved, because that is exact: the modes round a rate of a
tenth differently, and what could be bitwise equal would not be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

from ...models import UnknownModelError, get_model_spec
from ..config import SYNTHETIC_DATA
from ..errors import InputError
from ..plan.recipe import load_recipe

CHECK_DEFAULTS: Dict[str, Any] = {
    "data": SYNTHETIC_DATA,
    "batch_size": 4,
    "epochs": 3,
    "steps_per_epoch": 2,
    "lr": 0.01,
    "lr_gamma": 0.5,
    "lr_step": 2,  # epochs between two decays of a step schedule
}
CHECK_NUM_CLASSES = 10  # of synthetic data; a dataset has its own
CHECK_IMAGE_SIZE = {"imagenet": 64, "cifar": 32}  # pixels, by stem


def create_check_flags(model: str, flags: Dict[str, Any]) -> Dict[str, Any]:
    """The flags of a check of `model`, for `create_plan`; None in `flags` means "not given".

    Flags win over the recipe file (`config`), and that over the defaults here. The image size is
    never below the smallest that the model takes. Raises InputError for an unknown model or a
    recipe that cannot be read.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    recipe = load_recipe(Path(given["config"])) if "config" in given else {}
    said = {**recipe, **given}
    defaults = dict(CHECK_DEFAULTS)
    if said.get("data", SYNTHETIC_DATA) == SYNTHETIC_DATA:
        defaults["num_classes"] = CHECK_NUM_CLASSES
    if ":" not in model:
        try:
            spec = get_model_spec(model)
        except UnknownModelError as error:
            raise InputError(str(error)) from None
        defaults["image_size"] = max(CHECK_IMAGE_SIZE[spec.stem], spec.min_image_size)
    chosen = {name: value for name, value in defaults.items() if name not in said}
    return {**chosen, **given, "model": model}
