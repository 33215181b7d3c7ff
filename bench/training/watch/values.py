"""The values that a module and its loss read. A graph keeps them as it was traced with them.

They are attributes of modules, variables of the user's files and of functions around a function,
and parts of the objects, classes and modules among those. A short plain value is told by its text,
any other by a digest of its state.
"""

from __future__ import annotations

import functools
import io
import pickle
import types
import zlib
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Set, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ...training_step import TrainingStep

# (id of what holds it, its name there) -> its whole name and the text of its value
Values = Dict[Tuple[int, str], Tuple[str, str]]

STATE = "state "  # begins the text of a value that is told by a digest
LONGEST_TEXT = 60
MOST_BYTES = 2**20  # of the pickled parts; an array counts as a few

CONSTANT = (flow.Tensor, nn.Module, type, types.ModuleType, types.FunctionType)
_PLAIN = (bool, int, float, str, bytes, type(None), np.generic)
_OF_EVERY_MODULE = vars(nn.Module()).keys() - {"training"}  # parameters, hooks and the like
_LIBRARIES = ("oneflow", "numpy", "builtins")
_SUITE = __name__.partition(".")[0]


def describe_value(value: Any) -> Optional[str]:
    """The text of a value, or its digest; None for a constant such as a tensor or a function."""
    kind = type(value)
    is_generic = (kind.__reduce_ex__, kind.__reduce__) == (object.__reduce_ex__, object.__reduce__)
    is_whole = is_generic and not isinstance(value, CONSTANT)  # it consists of its attributes alone
    shown = getattr(value, "__dict__", value) if is_whole else value
    flat = list(shown.values()) if isinstance(shown, dict) else shown
    if all(
        isinstance(one, _PLAIN) for one in (flat if isinstance(flat, (list, tuple)) else [flat])
    ):
        text = repr(shown)
        if len(text) <= LONGEST_TEXT:
            return text
    digest = digest_state(value)
    return None if digest is None else STATE + digest


def list_plain_attributes(model: nn.Module) -> Dict[str, str]:
    """The text of each attribute by its path. An object that many modules share is told once."""
    found: Dict[str, str] = {}
    seen: Set[int] = set()
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            is_plain = isinstance(value, _PLAIN)
            if name in _OF_EVERY_MODULE or (not is_plain and id(value) in seen):
                continue
            seen.add(id(value))
            text = describe_value(value)
            if text is not None:
                found[f"{path}.{name}".lstrip(".")] = text
    return found


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
            waiting.append(value)
            own = _list_own(value)
            named = names & own.keys()
            waiting += [own[one] for one in named]
            kind = value if isinstance(value, type) else type(value)
            waiting += vars(kind).values()  # such as the backward pass of an autograd function
            if not is_suite:
                _add(found, value, f"{place}.{name}", own, named)
                _add(found, holder, place, {name: value}, [] if named else [name])
    return found


def _add(
    found: Values, holder: Any, place: str, parts: Mapping[str, Any], names: Iterable[str]
) -> None:
    for name in names:
        text = describe_value(parts[name])
        if text is not None:
            found.setdefault((id(holder), name), (f"{place}.{name}", text))


def _list_own(value: Any) -> Mapping[str, Any]:
    """The attributes of an object, a class or a module of Python."""
    is_constant = isinstance(value, (nn.Module, flow.Tensor))
    return {} if is_constant else getattr(value, "__dict__", {})


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


def digest_state(value: Any) -> Optional[str]:
    """Eight hexadecimal digits for the state of any value, so that a change of it shows.

    It follows whatever `pickle` follows. Tensors, modules, functions and classes are constants, and
    so is everything that cannot be pickled, apart from a generator's variables. None for a constant
    and for a value above `MOST_BYTES`.
    """
    if isinstance(value, CONSTANT):
        return None
    checksum = _Checksum()
    try:
        _Pickler(checksum, protocol=4).dump(value)
    except Exception:  # of a value's own code, or of too much
        return None
    return f"{checksum.value:08x}"


class _Checksum(io.RawIOBase):
    """A file that keeps a checksum of what is written to it."""

    value = size = 0

    def write(self, data: Any) -> int:
        self.value = zlib.crc32(data, self.value)
        self.size += len(data)
        if self.size > MOST_BYTES:
            raise OverflowError("the value is too large")
        return len(data)


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        """Stands in for a value; None to pickle that itself."""
        if isinstance(value, CONSTANT):
            return type(value).__name__
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return value.shape, value.dtype.str, zlib.crc32(np.ascontiguousarray(value))
        if isinstance(value, types.GeneratorType):
            frame = value.gi_frame
            return (frame.f_lasti, frame.f_locals) if frame else ("ended",)
        return None

    def reducer_override(self, value: Any) -> Any:
        """As pickle does by itself, but a value that refuses is a constant."""
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:
            return str, (type(value).__qualname__,)
        return reduced if isinstance(reduced, tuple) else (str, (reduced,))
