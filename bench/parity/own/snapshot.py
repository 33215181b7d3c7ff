"""Faithful copies of modules, losses, batches and functions, by one pickle of all of them.

OneFlow's own pickle loses a module's hooks, and its copy of a generator keeps the numbers that were
drawn. In one pickle, tensors and modules that the objects share stay shared.
"""

from __future__ import annotations

import io
import pickle
import random
import sys
import types
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import PathFinder
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import cloudpickle
import numpy as np
import oneflow as flow
from oneflow import nn


@dataclass(frozen=True)
class Snapshot:
    """Objects as they were. `kept` has what cannot be pickled; all copies share it.

    `reason` says why another process cannot load the snapshot; None if it can.
    """

    data: bytes
    kept: Sequence[Any] = field(default=())
    reason: Optional[str] = None

    def load(self, dtype: Optional[flow.dtype] = None) -> Any:
        """A copy of the objects; with `dtype` all floating-point tensors in it are cast."""
        return _Unpickler(self.data, self.kept, dtype).load()


def take_snapshot(*objects: Any) -> Snapshot:
    """The snapshot of a tuple of objects. Raises TypeError and the like for none at all."""
    with ExitStack() as stack:
        for module in _find_unimportable(objects):
            cloudpickle.register_pickle_by_value(module)
            stack.callback(cloudpickle.unregister_pickle_by_value, module)
        try:
            return Snapshot(_dump(objects, None))
        except Exception as error:  # what a class of the user's raises, too
            kept: List[Any] = []
            return Snapshot(_dump(objects, kept), kept, summarize_error(error))


def summarize_error(error: Exception) -> str:
    """Its class and its first line; OneFlow's errors go on with places in its own sources."""
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"


@contextmanager
def keep_generators() -> Iterator[None]:
    """At exit the global generators of Python, NumPy and OneFlow are as before."""
    states = random.getstate(), np.random.get_state(), flow.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        flow.default_generator.set_state(states[2])


def _dump(objects: Any, kept: Optional[List[Any]]) -> bytes:
    target = io.BytesIO()
    _Pickler(target, kept).dump(objects)
    return target.getvalue()


def _find_unimportable(objects: Sequence[Any]) -> List[Any]:
    """Modules of the objects' classes and functions that another process finds on no path."""
    parts = [part for one in objects if isinstance(one, nn.Module) for part in one.modules()]
    names = {getattr(part, "__module__", None) for part in (*objects, *parts)}
    modules = [sys.modules[name] for name in names if name in sys.modules]
    return [
        module
        for module in modules
        if getattr(module, "__file__", None) and module.__name__ != "__main__"
        if PathFinder.find_spec(module.__name__.partition(".")[0]) is None
    ]


class _Pickler(cloudpickle.Pickler):
    """With `kept`, objects that cannot be pickled are put there and kept as they are."""

    def __init__(self, target: io.BytesIO, kept: Optional[List[Any]]) -> None:
        super().__init__(target)
        self._kept = kept

    def reducer_override(self, value: Any) -> Any:
        for kind, reduce in _REDUCERS.items():
            if isinstance(value, kind):
                return reduce(value)
        reduced = super().reducer_override(value)
        if reduced is NotImplemented and self._kept is not None and not self._can_reduce(value):
            self._kept.append(value)
            return _recall, (len(self._kept) - 1,)
        return reduced

    def _can_reduce(self, value: Any) -> bool:
        if isinstance(value, _BY_NAME) or type(value) in self.dispatch_table:
            return True
        try:
            value.__reduce_ex__(pickle.DEFAULT_PROTOCOL)
        except Exception:  # of the user's class, too
            return False
        return True


def _reduce_module(module: nn.Module) -> Any:
    cls = type(module)
    if cls.__getstate__ is not nn.Module.__getstate__ or cls.__reduce_ex__ is not _REDUCE_EX:
        return NotImplemented  # the class has its own pickle
    return _create_module, (cls,), dict(vars(module)), None, None, _set_attributes


def _create_module(cls: Any) -> Any:
    return cls.__new__(cls)


def _set_attributes(module: nn.Module, attributes: Dict[str, Any]) -> None:
    vars(module).update(attributes)


def _reduce_tensor(tensor: flow.Tensor) -> Any:
    if tensor.is_global:
        return NotImplemented
    parameter = isinstance(tensor, nn.Parameter)
    return _create_tensor, (np.array(tensor.numpy()), parameter, tensor.requires_grad)


def _create_tensor(
    array: np.ndarray, parameter: bool, requires_grad: bool, dtype: Optional[flow.dtype] = None
) -> flow.Tensor:
    tensor = flow.tensor(array)
    if dtype is not None and tensor.is_floating_point():
        tensor = tensor.to(dtype)
    if parameter:
        return nn.Parameter(tensor, requires_grad=requires_grad)
    return tensor.requires_grad_(requires_grad)


def _create_generator(device: str, seed: int) -> flow.Generator:
    generator = flow.Generator(device)
    generator.manual_seed(seed)
    return generator


def _recall(number: int) -> Any:
    raise pickle.UnpicklingError("an object of the snapshot lives in another process")


_BY_NAME = (type, types.FunctionType, types.BuiltinFunctionType)  # pickle stores their names
_REDUCE_EX = object.__reduce_ex__
_REDUCERS: Dict[Any, Callable[[Any], Any]] = {
    nn.Module: _reduce_module,
    flow.Tensor: _reduce_tensor,
    # the seed alone, since a graph starts its generators afresh
    type(flow.default_generator): lambda one: (
        _create_generator,
        (one.device.type, one.initial_seed()),
    ),
    type(flow.device("cpu")): lambda one: (flow.device, (one.type, one.index)),
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, kept: Sequence[Any], dtype: Optional[flow.dtype]) -> None:
        super().__init__(io.BytesIO(data))
        self._own = {
            "_create_tensor": partial(_create_tensor, dtype=dtype),
            "_recall": kept.__getitem__ if kept else _recall,
        }

    def find_class(self, module: str, name: str) -> Any:
        own = self._own.get(name) if module == __name__ else None
        return own or super().find_class(module, name)
