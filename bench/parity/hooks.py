"""Copies of the output of every module, leaf or not, taken when its forward pass ends.

They work in eager mode and inside a graph, where the copies belong to the compiled graph.
"""

from __future__ import annotations

import types
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ..training.layer_graph import replace_forwards

OUTPUT = "output"  # the name of the model's own output among its modules'

# name, class of the module, value
Output = Tuple[str, str, np.ndarray]


class Hooks:
    """The outputs of a model's modules in the order in which their forward passes ended."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.names: List[Tuple[str, str]] = []  # and classes
        self.tensors: List[flow.Tensor] = []
        self._calls: Dict[str, int] = {}

    def note(self, name: str, module: nn.Module, output: Any) -> None:
        self._calls[name] = self._calls.get(name, 0) + 1
        if self._calls[name] > 1:
            name = f"{name} (call {self._calls[name]})"
        for suffix, tensor in list_tensors(output):
            self.names.append((name + suffix, type(module).__name__))
            # a copy: a later module may overwrite the output in place
            self.tensors.append(tensor.clone())

    def read(self, tensors: Optional[Sequence[flow.Tensor]] = None) -> List[Output]:
        """The outputs as arrays; `tensors` are those that a call of a compiled graph returned."""
        given = self.tensors if tensors is None else tensors
        return [(*name, np.array(tensor.numpy())) for name, tensor in zip(self.names, given)]


def list_tensors(output: Any) -> List[Tuple[str, flow.Tensor]]:
    """(suffix, tensor) of a module's output, which may hold tensors in lists, tuples and dicts."""
    if isinstance(output, flow.Tensor):
        return [("", output)]
    if isinstance(output, dict):
        parts = list(output.items())
    elif isinstance(output, (list, tuple)):
        parts = list(enumerate(output))
    else:
        return []
    return [(f"[{key}]{rest}", t) for key, part in parts for rest, t in list_tensors(part)]


@contextmanager
def hook_modules(root: nn.Module, names: Callable[[str], Optional[str]]) -> Iterator[Hooks]:
    """Copy the outputs of the modules below `root` that `names` gives a name, while inside.

    A graph that is compiled inside keeps its hooks afterwards. At exit the modules are as before.
    """
    hooks = Hooks()
    with replace_forwards() as replace:
        for path, module in root.named_modules():
            name = names(path)
            if name is not None:
                replace(module, _hooked(hooks, name, module))
        yield hooks


def _hooked(hooks: Hooks, name: str, module: nn.Module) -> Any:
    original = module.forward.__func__

    def forward(self: Any, *inputs: Any, **named: Any) -> Any:
        # nn.Graph calls this with its own stand-in for the module, whose children are stand-ins too
        output = original(self, *inputs, **named)
        hooks.note(name, module, output)
        return output

    return types.MethodType(forward, module)


def name_in_objective(path: str) -> Optional[str]:
    """Names of the student's and the teacher's modules; None for the rest of an `Objective`."""
    if path == "model":
        return OUTPUT
    if path.startswith("model."):
        return path[len("model.") :]
    return path if path.split(".")[0] == "teacher" else None


def name_in_model(path: str) -> Optional[str]:
    """Names of a model's modules as in `name_in_objective`."""
    return path or OUTPUT
