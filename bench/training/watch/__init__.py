"""Notes what the forward passes of a model do beside operators."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List

import numpy as np
from oneflow import nn

from ..hooks import list_tensors
from .values import Values, list_plain_attributes, list_read_values


class ForwardWatch:
    """Notes what the forward passes of `objective`, with `model` as a part, do beside operators."""

    def __init__(self, model: nn.Module, objective: nn.Module) -> None:
        named = [(name, module) for name, module in model.named_modules() if name]
        self._model, self._objective = model, objective
        self._values: Values = {}  # as they were seen last
        self.changed_attributes: Dict[str, List[str]] = {}  # values, the first before a forward
        self.changed_values: Dict[str, List[str]] = {}  # of read variables, also between forwards
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
                self.changed_attributes.setdefault(name, [before]).append(value)
        drawn = [name for name, state in _read_host_generators().items() if state != draws[name]]
        self.host_draws = list(dict.fromkeys([*self.host_draws, *drawn]))
        same = (np.array_equal(value, t.numpy(), equal_nan=True) for t, value in tensors)
        self.changes_input |= not all(same)

    def _note_values(self) -> None:
        for key, value in list_read_values(self._objective).items():
            before = self._values.setdefault(key, value)
            if value != before:
                self.changed_values.setdefault(key[1], [before]).append(value)
                self._values[key] = value


def _read_host_generators() -> Dict[str, int]:
    """A number for the state of each generator that Python code may draw from."""
    numpy_state = np.random.get_state(legacy=False)
    states = {"random": random.getstate(), "numpy.random": repr(numpy_state)}
    return {name: hash(state) for name, state in states.items()}
