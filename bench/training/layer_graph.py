"""One layer without the rest of its model, as a module that either mode can run; forwards replaced.

A graph has a backward only with an optimizer, gives gradients only of parameters, and leaves out
what none of its outputs needs. So inputs become parameters, the output gradient becomes a factor
of a loss, and an optimizer is added that changes nothing.
"""

from __future__ import annotations

import copy
import warnings
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

import oneflow as flow
from oneflow import nn

from ..errors import InputError


def copy_layer(module: nn.Module) -> nn.Module:
    """A deep copy that also keeps what OneFlow's own loses: hooks, and which parameters are frozen.

    Random state is as at the first call.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The module hooks will not be remained")
        layer = copy.deepcopy(module)
    for copied, original in zip(layer.modules(), module.modules()):
        copied._forward_hooks.update(original._forward_hooks)
        copied._forward_pre_hooks.update(original._forward_pre_hooks)
        generator: Any = getattr(copied, "generator", None)
        if hasattr(generator, "initial_seed"):
            generator.manual_seed(generator.initial_seed())
    for parameter, original in zip(layer.parameters(), module.parameters()):
        parameter.requires_grad = original.requires_grad
    return layer


def take_forward(module: nn.Module) -> Callable[..., Any]:
    """The function that a graph runs. Raises InputError for a forward that is no method."""
    function: Optional[Callable[..., Any]] = getattr(module.forward, "__func__", None)
    if function is None:
        raise InputError(
            f"the forward of a {type(module).__name__} is a function that was set on the module, "
            "and a graph of OneFlow runs only a method; define forward in the class"
        )
    return function


@contextmanager
def replace_forwards() -> Iterator[Callable[[nn.Module, Any], None]]:
    """Gives `replace(module, forward)`, which puts a forward on the instance while inside.

    At exit, also by an exception, the modules are as before.
    """
    replaced: List[Tuple[nn.Module, Optional[Any]]] = []

    def replace(module: nn.Module, forward: Any) -> None:
        replaced.append((module, module.__dict__.get("forward")))
        object.__setattr__(module, "forward", forward)

    try:
        yield replace
    finally:
        for module, before in reversed(replaced):
            del module.__dict__["forward"]
            if before is not None:
                object.__setattr__(module, "forward", before)


class LayerAlone(nn.Module):
    """A layer with its inputs, and its output gradient where there is one, as parts of it.

    `needs_gradient` says of each input whether its gradient is wanted. With `guards_inputs` the
    layer works on copies of the inputs, as an in-place layer must.
    """

    def __init__(
        self,
        layer: nn.Module,
        inputs: Sequence[flow.Tensor],
        needs_gradient: Sequence[bool],
        output_gradient: Optional[flow.Tensor],
        guards_inputs: bool = False,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.input_names = [f"input_{number}" for number in range(len(inputs))]
        self.guards_inputs = guards_inputs
        for name, data, needed in zip(self.input_names, inputs, needs_gradient):
            data = data.detach().clone()
            if needed:
                self.register_parameter(name, nn.Parameter(data))
            else:
                self.register_buffer(name, data)
        self.has_backward = output_gradient is not None
        self.register_buffer("output_gradient", output_gradient)
        self.unused = nn.Parameter(flow.zeros(1))

    def forward(self) -> Any:
        """The layer's output; with an output gradient, the output and a loss that has it.

        d loss / d output is the output gradient to the bit: the sum's own gradient is one.
        """
        inputs = [getattr(self, name) for name in self.input_names]
        output = self.layer(*([data.clone() for data in inputs] if self.guards_inputs else inputs))
        if not self.has_backward:
            return output
        if getattr(output, "shape", None) != self.output_gradient.shape:
            raise ValueError(
                f"an output gradient of shape {tuple(self.output_gradient.shape)} was given for "
                f"the output of {type(self.layer).__name__}, which is not one tensor of that "
                "shape; give the gradient of this very output, or none to run the forward alone"
            )
        loss = (output * self.output_gradient).sum()
        return output, loss + self.unused.sum() * 0.0

    def wanted_parameters(self) -> List[str]:
        """Names of what gets a gradient: trainable parameters and inputs that need one."""
        named = self.named_parameters()
        return [name for name, tensor in named if tensor.requires_grad and name != "unused"]


class ForwardGraph(nn.Graph):
    """A module's forward, in the mode, train or eval, that it is in when compiled."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def build(self, *inputs: flow.Tensor) -> Any:
        return self.layer(*inputs)


class GradientGraph(nn.Graph):
    """Gives the gradients of a `LayerAlone` by name, after its output with `returns_output`."""

    def __init__(self, alone: LayerAlone, returns_output: bool = False) -> None:
        super().__init__()
        self.alone = alone
        self.wanted = frozenset(alone.wanted_parameters())
        self.returns_output = returns_output
        # a graph needs an optimizer to have a backward; this one changes nothing
        self.add_optimizer(flow.optim.SGD([alone.unused], lr=0.0))

    def build(self) -> Any:
        output, loss = self.alone()
        loss.backward()
        named = [(name, p.to(flow.Tensor).grad) for name, p in self.alone.named_parameters()]
        gradients = {name: g for name, g in named if name in self.wanted and g is not None}
        return (output, gradients) if self.returns_output else gradients
