"""Random functions that give the same numbers in both modes, so that all else can be compared.

OneFlow draws other numbers in a graph than eagerly, whatever the seed. Here the k-th draw of a
forward pass has the same numbers in each step and mode: eager ones, which a graph takes as
constants.
"""

from __future__ import annotations

import sys
import types
from typing import Any, Callable, Dict, Optional

import oneflow as flow
from oneflow import nn

from .layer_graph import take_forward
from .oneflow_compat import outside_graph

_VALUES = ("normal", "rand", "randint", "randn", "randperm")  # of a shape, and not of a tensor


class SeededDraws:
    """Replaces OneFlow's random functions in all imported modules, for the rest of the process.

    Not `Tensor.uniform_` and its like, nor `multinomial`: these stay as operators of a graph.
    """

    def __init__(self) -> None:
        self._drawn = 0  # in this forward pass
        self._originals = {name: getattr(flow._C, name) for name in (*_VALUES, "dropout")}
        replacements: Dict[int, Any] = {
            id(original): self._draw_value(original)
            for name, original in self._originals.items()
            if name in _VALUES
        }
        replacements[id(flow._C.dropout)] = self._dropout
        replacements[id(flow._C.bernoulli)] = self._bernoulli
        replacements[id(flow._C.randn_like)] = self._randn_like
        for module in list(sys.modules.values()):
            names = vars(module) if isinstance(module, types.ModuleType) else {}
            for name, value in list(names.items()):
                if id(value) in replacements:
                    setattr(module, name, replacements[id(value)])

    def restart_with(self, model: nn.Module) -> None:
        """Let each forward pass of `model` begin with the first draw."""
        original = take_forward(model)

        def forward(module: Any, *inputs: Any, **named: Any) -> Any:
            self._drawn = 0
            return original(module, *inputs, **named)

        object.__setattr__(model, "forward", types.MethodType(forward, model))

    def _draw_value(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def draw(*arguments: Any, **named: Any) -> Any:
            self._drawn += 1
            generator = flow.Generator()
            generator.manual_seed(self._drawn)
            with outside_graph():
                return original(*arguments, **{**named, "generator": generator})

        return draw

    def _draw_uniform(self, like: flow.Tensor) -> flow.Tensor:
        return self._draw_value(self._originals["rand"])(tuple(like.shape))

    def _bernoulli(self, input: flow.Tensor, p: Any = None, **named: Any) -> flow.Tensor:
        drawn = self._draw_uniform(input).to(input.dtype)
        return (drawn < (input if p is None else p)).to(input.dtype)

    def _randn_like(self, input: flow.Tensor, **named: Any) -> flow.Tensor:
        drawn = self._draw_value(self._originals["randn"])(tuple(input.shape))
        return drawn.to(named.get("dtype", input.dtype))

    def _dropout(
        self,
        input: flow.Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
        *_: Any,  # nn.Dropout gives its generator
        addend: Optional[flow.Tensor] = None,
        **__: Any,
    ) -> flow.Tensor:
        if not training or p in (0, 1):
            return self._originals["dropout"](input, p, training, inplace, addend=addend)
        kept = (self._draw_uniform(input) >= p).to(input.dtype) / (1.0 - p)
        dropped = input * kept
        return dropped if addend is None else dropped + addend
