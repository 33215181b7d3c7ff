"""The plain values that a module and its loss read. A graph keeps them as it was traced with them.

They are attributes of modules, variables of the user's files and of functions around a function,
and parts of the objects, classes and modules among those.
"""

from __future__ import annotations

import functools
import pickle
import random
import types
import zlib
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Set, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ...training_step import TrainingStep

Values = Dict[Tuple[int, str], str]  # (id of what holds it, its name) -> text

_PLAIN = (bool, int, float, str, bytes, type(None), np.generic)
_STATEFUL = (np.ndarray, random.Random, np.random.Generator, np.random.RandomState)
_LIBRARIES = ("oneflow", "numpy", "builtins")
_SUITE = __name__.partition(".")[0]


def describe_value(value: Any) -> Optional[str]:
    """The text of a plain value, a flat container or a generator; None for all else."""
    if isinstance(value, (list, tuple, dict)):
        parts = value.values() if isinstance(value, dict) else value
        return repr(value) if all(isinstance(part, _PLAIN) for part in parts) else None
    if isinstance(value, _STATEFUL):
        return f"state {zlib.crc32(pickle.dumps(value)):08x}"
    return repr(value) if isinstance(value, _PLAIN) else None


def list_plain_attributes(model: nn.Module) -> Dict[str, str]:
    """The text of each attribute that is a plain value, a flat container or a generator."""
    described = {
        f"{path}.{name}".lstrip("."): describe_value(value)
        for path, module in model.named_modules()
        for name, value in vars(module).items()
    }
    return {name: text for name, text in described.items() if text is not None}


def list_read_values(objective: nn.Module) -> Values:
    """The values outside of the modules' attributes that their functions and the loss name.

    The functions that these call by name are followed, but not those of libraries.
    """
    found: Values = {}
    waiting: List[Any] = []
    kinds: Set[Any] = set()
    for module in objective.modules():
        waiting += _list_parts(vars(module).values())
        kinds.update(type(module).__mro__)
    for kind in kinds:
        if kind.__module__.partition(".")[0] not in (*_LIBRARIES, _SUITE):
            _add(found, kind, kind.__name__, vars(kind), vars(kind))
            waiting += vars(kind).values()
    seen: Set[int] = set()
    while waiting:
        function = _find_function(waiting.pop())
        if function is None or id(function) in seen:
            continue
        seen.add(id(function))
        place = str(function.__module__)
        is_suite = place.startswith(f"{_SUITE}.")
        names = _list_names(function.__code__)
        for holder, name, value in _list_variables(function, names):
            if not is_suite:
                _add(found, holder, place, {name: value}, [name])
            waiting.append(value)
            if hasattr(value, "__dict__") and not isinstance(value, (nn.Module, flow.Tensor)):
                parts = vars(value)
                named = names & parts.keys()
                if not is_suite:
                    _add(found, value, f"{place}.{name}", parts, named)
                waiting += [parts[one] for one in named]
    return found


def _add(
    found: Values, holder: Any, place: str, parts: Mapping[str, Any], names: Iterable[str]
) -> None:
    for name in names:
        text = describe_value(parts[name])
        if text is not None:
            found[id(holder), f"{place}.{name}"] = text


def _list_parts(values: Iterable[Any]) -> Iterator[Any]:
    """Attributes of a module and the parts of those, of a `TrainingStep` its loss."""
    for value in values:
        yield value.loss if isinstance(value, TrainingStep) else value
        if not isinstance(value, (nn.Module, flow.Tensor, TrainingStep, type)):
            yield vars(type(value)).get("__call__")
            yield from getattr(value, "__dict__", {}).values()


def _find_function(value: Any) -> Optional[types.FunctionType]:
    """The function of the user's, or of the suite, that a value calls."""
    while isinstance(value, (types.MethodType, functools.partial, staticmethod, classmethod)):
        value = value.func if isinstance(value, functools.partial) else value.__func__
    is_ours = isinstance(value, types.FunctionType) and (
        str(value.__module__).partition(".")[0] not in _LIBRARIES
    )
    return value if is_ours else None


def _list_names(code: types.CodeType) -> Set[str]:
    """The names of globals and attributes in a function and in the functions inside it."""
    inner = [one for one in code.co_consts if isinstance(one, types.CodeType)]
    return set(code.co_names).union(*map(_list_names, inner))


def _list_variables(
    function: types.FunctionType, names: Set[str]
) -> Iterator[Tuple[Any, str, Any]]:
    """(what holds it, name, value) of the globals and outer variables that a function names."""
    known = function.__globals__
    yield from ((known, name, known[name]) for name in sorted(names) if name in known)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            yield cell, name, cell.cell_contents
        except ValueError:  # not assigned yet
            pass
