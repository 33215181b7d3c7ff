"""Hooks on the modules of an objective that work in either mode and change no computed bit.

OneFlow's own hooks do not run in a graph, so each module gets a `forward` on its instance. The
gradient of an output is kept by `Tensor.retain_grad`, which adds no operator to a graph.
"""

from __future__ import annotations

import types
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Sequence, Set, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from .layer_graph import replace_forwards, take_forward
from .nest import list_leaves

Output = Tuple[str, str, np.ndarray]  # name, class of the module, value


def list_tensors(output: Any) -> List[Tuple[str, flow.Tensor]]:
    """(suffix, tensor) of a module's output, which may hold tensors in lists, tuples and dicts."""
    leaves = list_leaves(output, "", str)
    return [(place, leaf) for place, leaf in leaves if isinstance(leaf, flow.Tensor)]


class Hooks:
    """The outputs of a model's modules in the order in which their forward passes ended."""

    def __init__(self, root: str) -> None:
        self.root = root  # the model's own name
        self.clear()

    def clear(self) -> None:
        self.names: List[Tuple[str, str]] = []  # and classes
        self.tensors: List[flow.Tensor] = []  # copies: a later module may work in place
        self.originals: List[flow.Tensor] = []
        self._calls: Dict[str, int] = {}
        self._users: Dict[int, str] = {}  # id of a tensor -> the module that takes it
        self._inputs: List[flow.Tensor] = []  # kept, so that no id is taken again

    def note_inputs(self, name: str, inputs: Any) -> None:
        """Before a forward. A tensor's user is its innermost first taker."""
        for _, tensor in list_tensors(inputs):
            self._inputs.append(tensor)
            before = self._users.get(id(tensor))
            if before is None or name.startswith(f"{before}.") or before == self.root:
                self._users[id(tensor)] = name

    def note(self, name: str, module: nn.Module, output: Any) -> None:
        self._calls[name] = self._calls.get(name, 0) + 1
        if self._calls[name] > 1:
            name = f"{name} (call {self._calls[name]})"
        for suffix, tensor in list_tensors(output):
            self.names.append((name + suffix, type(module).__name__))
            self.tensors.append(tensor.clone())
            self.originals.append(tensor)
            if tensor.requires_grad and not tensor.is_leaf:
                tensor.retain_grad()

    def list_gradients(self) -> Dict[str, flow.Tensor]:
        """After the backward pass: the gradients of outputs, by the outputs' names."""
        named = {name: tensor for (name, _), tensor in zip(self.names, self.originals)}
        kept = {n: t.grad for n, t in named.items() if t.requires_grad and not t.is_leaf}
        return {name: gradient for name, gradient in kept.items() if gradient is not None}

    def list_requiring(self) -> Dict[str, bool]:
        """Whether each output belongs to the backward pass."""
        return {n: bool(t.requires_grad) for (n, _), t in zip(self.names, self.originals)}

    def list_users(self) -> Dict[str, str]:
        """Output -> the module that takes it, else the one whose forward works on it."""
        users = {}
        for (name, _), tensor in zip(self.names, self.originals):
            parent = name.split(" ")[0].split("[")[0].rpartition(".")[0]
            users[name] = self._users.get(id(tensor), parent or self.root)
        return users

    def read(self, tensors: Sequence[flow.Tensor]) -> List[Output]:
        """The outputs as arrays; `tensors` are `self.tensors` or what a compiled graph returned."""
        return [(*name, np.array(tensor.numpy())) for name, tensor in zip(self.names, tensors)]


@contextmanager
def hook_modules(objective: nn.Module, root: str) -> Iterator[Hooks]:
    """Hook the modules of an `Objective`'s student, which is called `root`, and teacher.

    A graph that is compiled inside keeps its hooks afterwards. At exit the modules are as before.
    """
    hooks = Hooks(root)
    with replace_forwards() as replace:
        for path, module in objective.named_modules():
            top, _, below = path.partition(".")
            if top in ("model", "teacher"):
                name = path if top == "teacher" else below or root
                replace(module, _hooked(hooks, name, module))
        yield hooks


def _hooked(hooks: Hooks, name: str, module: nn.Module) -> Any:
    original = take_forward(module)

    def forward(self: Any, *inputs: Any, **named: Any) -> Any:
        # nn.Graph calls this with its own stand-in for the module, whose children are stand-ins too
        hooks.note_inputs(name, [inputs, named])
        output = original(self, *inputs, **named)
        hooks.note(name, module, output)
        return output

    return types.MethodType(forward, module)


def list_attribute_tensors(model: nn.Module) -> Dict[str, flow.Tensor]:
    """Tensors that modules keep and the state dict does not have: attributes, buffers too."""
    stored: Set[str] = set(model.state_dict())
    kept = {
        f"{path}.{name}".lstrip("."): value
        for path, module in model.named_modules()
        for name, value in {**vars(module), **module._buffers}.items()
        if isinstance(value, flow.Tensor)
    }
    return {name: tensor for name, tensor in kept.items() if name not in stored}
