"""From flags to the plans of a parity check: the models, and the workload of each.

The defaults of a check make it small, so that a pull request can wait for it, and long enough for
faults that take time: three epochs of two steps, a decay of the learning rate after four steps, a
checkpoint after three, a validation pass at the end. The rate is halved because that is exact. The
modes round a rate of a tenth differently, and bitwise equality would be lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from ...models import UnknownModelError, get_model_spec, list_models
from ..config import STEP_DATA, SYNTHETIC_DATA, Workload
from ..errors import InputError, raise_as_input
from .fields import list_unread
from .plan import Plan, create_plan
from .recipe import load_recipe

_WILDCARDS = frozenset("*?[")

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


def create_check_flags(
    model: str, flags: Dict[str, Any], defaults: Mapping[str, Any] = CHECK_DEFAULTS
) -> Dict[str, Any]:
    """The flags of a check of `model`, for `create_plan`; None in `flags` means "not given".

    Flags win over the recipe file (`config`), and that over `defaults`. The image size is never
    below the smallest that the model takes. Raises InputError for an unknown model or a recipe that
    cannot be read.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    recipe = load_recipe(Path(given["config"]), {*given, "model"}) if "config" in given else {}
    said = {**recipe, **given}
    defaults = dict(defaults)
    if said.get("data") == STEP_DATA:
        defaults = {name: defaults[name] for name in ("epochs", "steps_per_epoch")}
    elif said.get("data", SYNTHETIC_DATA) == SYNTHETIC_DATA:
        defaults["num_classes"] = CHECK_NUM_CLASSES
    if ":" not in model:
        with raise_as_input(UnknownModelError):
            spec = get_model_spec(model)
        defaults["image_size"] = max(CHECK_IMAGE_SIZE[spec.stem], spec.min_image_size)
    unread = list_unread({**defaults, **said})
    chosen = {name: value for name, value in defaults.items() if name not in {*said, *unread}}
    return {**chosen, **given, "model": model}


def select_models(text: str) -> List[str]:
    """Names from a list such as 'lenet,resnet*', each once, in the order given.

    A name without wildcards is taken as it is. Raises InputError for a pattern that fits no model.
    """
    names: List[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        fitting = list_models(part) if _WILDCARDS & set(part) else [part]
        if not fitting:
            raise InputError(f"--models: no model's name fits '{part}'; bench models lists them")
        names += fitting
    if not names:
        raise InputError(f"--models '{text}' names no model; give names such as lenet,resnet*")
    return list(dict.fromkeys(names))


def choose_models(
    flags: Dict[str, Any], models: Optional[str], list_stored: Callable[[], Sequence[str]]
) -> List[str]:
    """The models to check: those named by --models or --model, else the recipe's.

    Without any of these, the models that have a stored baseline. If there is none, the suite's
    default model. Raises InputError if --model and --models are both given.
    """
    if models is not None and flags.get("model") is not None:
        raise InputError("--model and --models both name models to check; leave one out")
    if models is not None:
        return select_models(models)
    if flags.get("model") is not None:
        return [flags["model"]]
    if flags.get("config") is not None:
        return [str(load_recipe(Path(flags["config"]))["model"])]
    return list(list_stored()) or [Workload().model]


def create_check_plans(
    names: Sequence[str],
    flags: Dict[str, Any],
    on_progress: Optional[Callable[[int, int], None]] = None,
    defaults: Mapping[str, Any] = CHECK_DEFAULTS,
) -> List[Plan]:
    """A plan for each model. All are made before any is run, so that bad input stops all.

    Raises InputError for a workload that cannot be run.
    """
    return [create_plan(create_check_flags(name, flags, defaults), on_progress) for name in names]
