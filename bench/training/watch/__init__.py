"""Notes what a training does beside operators, in its forward passes and to its optimizer."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List

import numpy as np
import oneflow as flow
from oneflow import nn

from ..hooks import list_tensors
from ..oneflow_compat import list_options
from .values import STATE, Values, list_plain_attributes, list_read_values

Changes = Dict[str, List[str]]  # by name: values, the first before the first forward


class ForwardWatch:
    """Notes what the forward passes of `objective`, with `model` as a part, do beside operators."""

    def __init__(self, model: nn.Module, objective: nn.Module) -> None:
        named = [(name, module) for name, module in model.named_modules() if name]
        self._model, self._objective = model, objective
        self._values: Values = {}  # as they were seen last
        self._attributes: Changes = {}
        self._variables: Changes = {}
        self.host_draws: List[str] = []  # modules of Python whose generators were drawn from
        self.hooked_modules = [n for n, m in named if m._forward_hooks or m._forward_pre_hooks]
        self.changes_input = False

    @contextmanager
    def watch(self, inputs: Any) -> Iterator[None]:
        """One forward pass on `inputs`, a nest of tensors, is inside."""
        attributes, draws = list_plain_attributes(self._model), _read_host_generators()
        tensors = [(tensor, np.array(tensor.numpy())) for _, tensor in list_tensors(inputs)]
        self._note_values()
        yield
        self._note_values()
        for name, value in list_plain_attributes(self._model).items():
            before = attributes.get(name, "nothing")
            if value != before:
                self._attributes.setdefault(name, [before]).append(value)
        drawn = [name for name, state in _read_host_generators().items() if state != draws[name]]
        self.host_draws = list(dict.fromkeys([*self.host_draws, *drawn]))
        same = (np.array_equal(value, t.numpy(), equal_nan=True) for t, value in tensors)
        self.changes_input |= not all(same)

    @property
    def changed_attributes(self) -> Changes:
        """Those of the modules that change within a forward."""
        return _leave_out_caches(self._attributes)

    @property
    def changed_values(self) -> Changes:
        """Those of read variables, also between forwards."""
        return _leave_out_caches(self._variables)

    def _note_values(self) -> None:
        for key, (name, value) in list_read_values(self._objective).items():
            _, before = self._values.setdefault(key, (name, value))
            if value != before:
                self._variables.setdefault(name, [before]).append(value)
                self._values[key] = name, value


def _leave_out_caches(changes: Changes) -> Changes:
    """Without a state that changes once, such as a cache that the first forward fills."""
    return {n: v for n, v in changes.items() if len(v) > 2 or not v[-1].startswith(STATE)}


def _read_host_generators() -> Dict[str, int]:
    """A number for the state of each generator that Python code may draw from."""
    numpy_state = np.random.get_state(legacy=False)
    states = {"random": random.getstate(), "numpy.random": repr(numpy_state)}
    return {name: hash(state) for name, state in states.items()}


class OptionWatch:
    """Notes changes of an optimizer's options, whose value in a graph is that of its compilation.

    A scheduler's changes of the rate do reach a graph, so `has_scheduler` leaves the rate out.
    """

    def __init__(self, optimizer: flow.optim.Optimizer, has_scheduler: bool) -> None:
        self._optimizer = optimizer
        self._left_out = ("lr",) if has_scheduler else ()
        self._seen = list_options(optimizer)
        self.changed: Changes = {}

    def note(self) -> None:
        """After an update."""
        for name, value in list_options(self._optimizer).items():
            before = self._seen.get(name, "nothing")
            if value != before and name[1] not in self._left_out:
                place, option = name
                self.changed.setdefault(f"{place}[{option!r}]", [before]).append(value)
            self._seen[name] = value
