"""From flags to the plans of a check: which models, each with its workload."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from ...models import list_models
from ..config import Workload
from ..errors import InputError
from ..plan.plan import Plan, create_plan
from ..plan.recipe import load_recipe
from .defaults import create_check_flags

_WILDCARDS = frozenset("*?[")


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

    Without any of these, the models that have a stored baseline, and where there is none the
    suite's default model. Raises InputError where --model and --models are both given.
    """
    if models is not None and flags.get("model") is not None:
        raise InputError("--model and --models both say what to check; leave one out")
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
) -> List[Plan]:
    """A plan for each model. All are made before any is run, so that bad input stops all.

    Raises InputError for whatever cannot be run.
    """
    return [create_plan(create_check_flags(name, flags), on_progress) for name in names]
