"""Which models there are. Listing needs no OneFlow; an architecture is imported when created.

A model is one row of `TABLE` in `table.py`. Its module registers a factory under the same name by
`register_model`, which checks that the row exists. See docs/adding-a-model.md. Code of a
user's own, a model or other, is named as `package.module:attribute`.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import inspect
import os
import sys
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, TypeVar

from .table import TABLE, ModelSpec

Factory = TypeVar("Factory", bound=Callable[..., Any])


class UnknownModelError(ValueError):
    """No model of that name; the message lists close matches."""


class OwnCodeError(ValueError):
    """A `package.module:attribute` that cannot be used; the message says why."""


_BENCH = Path(__file__).resolve().parents[1] / "bench"
_SPECS: Dict[str, ModelSpec] = {spec.name: spec for spec in TABLE}
_FACTORIES: Dict[str, Callable[..., Any]] = {}


def register_model(factory: Factory, name: str = "") -> Factory:
    """Make `factory` the way to create the model `name`, by default its own; also a decorator."""
    name = name or factory.__name__
    if name not in _SPECS:
        raise ValueError(f"{name} has no row in the model table, models/table.py; add one")
    if name in _FACTORIES:
        raise ValueError(f"{name} is registered twice")
    _FACTORIES[name] = factory
    return factory


def list_models(pattern: str = "*") -> List[str]:
    """Names that fit a wildcard pattern such as 'resnet*', in the order of the table."""
    return [name for name in _SPECS if fnmatch.fnmatchcase(name, pattern)]


def get_model_spec(name: str) -> ModelSpec:
    """The row of a registered model. Raises UnknownModelError with close matches."""
    if name in _SPECS:
        return _SPECS[name]
    close = difflib.get_close_matches(name, _SPECS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "bench models lists them all"
    raise UnknownModelError(
        f"unknown model '{name}'; {hint} (a model of your own is package.module:factory)"
    )


def create_model(name: str, num_classes: Optional[int] = None, **arguments: Any) -> Any:
    """A new `oneflow.nn.Module` with `num_classes` outputs, by default the model's own number.

    `name` is registered, or `package.module:factory`, looked for in the current folder too; the
    factory is called with `num_classes`, if given, and `arguments`. Raises UnknownModelError and
    OwnCodeError.
    """
    if ":" in name:
        given = {} if num_classes is None else {"num_classes": num_classes}
        return _create_own_model(name, {**given, **arguments})
    classes = get_model_spec(name).num_classes if num_classes is None else num_classes
    return find_factory(name)(num_classes=classes, **arguments)


def list_arguments(name: str) -> Dict[str, Any]:
    """The arguments of a registered model besides `num_classes`, and their defaults.

    Imports OneFlow.
    """
    parameters = inspect.signature(find_factory(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.name != "num_classes"}


def find_factory(name: str) -> Callable[..., Any]:
    """The function or class that makes a registered model. Raises UnknownModelError."""
    spec = get_model_spec(name)
    importlib.import_module(f"{__package__}.{spec.family}")
    return _FACTORIES[name]


def _create_own_model(name: str, arguments: Dict[str, Any]) -> Any:
    from oneflow import nn

    factory = import_attribute(name, "--model")
    try:
        model = factory(**arguments)
    except Exception as error:
        given = ", ".join(f"{k}={v}" for k, v in arguments.items()) or "no arguments"
        raise OwnCodeError(
            f"--model {name}: calling it with {given} raised "
            f"{type(error).__name__}: {error}; it must take num_classes"
        ) from error
    if not isinstance(model, nn.Module):
        raise OwnCodeError(
            f"--model {name} returned an object of type {type(model).__name__}; "
            "it must return an oneflow.nn.Module"
        )
    return model


def import_attribute(name: str, flag: str) -> Any:
    """The callable that `name` stands for, as `import_object`; OwnCodeError for another object."""
    return import_object(name, flag, "function or class", callable)


def import_object(
    name: str, flag: str, kind: str = "object", fits: Callable[[Any], bool] = lambda found: True
) -> Any:
    """The object that `module:name` stands for, also from the current folder; `flag` is its flag.

    Raises OwnCodeError where the module cannot be imported or has no object that `fits`.
    """
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # behind all libraries: it shadows none
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        at = find_own_line(error)
        remedy = (
            f"mend line {at.lineno} of {at.filename}"
            if at
            else ("run bench from the folder it is in, or install it")
        )
        raise OwnCodeError(
            f"{flag} {name}: the module '{module_name}' cannot be imported "
            f"({type(error).__name__}: {error}); {remedy}"
        ) from error
    found = getattr(module, attribute, None)
    if found is None or not fits(found):
        known = [one for one, value in vars(module).items() if one[0] != "_" and fits(value)]
        near = " or ".join(difflib.get_close_matches(attribute, known))
        raise OwnCodeError(
            f"{flag} {name}: '{module_name}' has no {kind} '{attribute}'; give "
            + (near or "a name that the file defines")
        )
    return found


def find_own_line(error: BaseException) -> Optional[traceback.FrameSummary]:
    """The last line of a user's own code that led to an error; None if there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame for frame in reversed(frames) if not _is_foreign(frame.filename)), None)


def _is_foreign(file: str) -> bool:
    path = Path(file)
    place = path.resolve()
    suite = place == Path(__file__).resolve() or _BENCH in place.parents
    return suite or {"oneflow", "importlib"} & set(path.parts) != set() or "<" in file
