"""One layer without the rest of its model, as a module that either mode can run.

A graph has a backward only with an optimizer, gives gradients only of parameters, and leaves out
what none of its outputs needs. So inputs become parameters, the output gradient becomes a factor
of a loss, and an optimizer is added that changes nothing.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import oneflow as flow
from oneflow import nn


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
        loss = (output * self.output_gradient).sum()
        return output, loss + self.unused.sum() * 0.0

    def wanted_parameters(self) -> List[str]:
        """Names of what gets a gradient: trainable parameters and inputs that need one."""
        named = self.named_parameters()
        return [name for name, tensor in named if tensor.requires_grad and name != "unused"]


class ForwardGraph(nn.Graph):
    """A module compiled without a backward."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def build(self, *inputs: flow.Tensor) -> Any:
        return self.layer(*inputs)


class GradientGraph(nn.Graph):
    """Forward and backward of a `LayerAlone`; returns its gradients by name."""

    def __init__(self, alone: LayerAlone) -> None:
        super().__init__()
        self.alone = alone
        self.wanted = frozenset(alone.wanted_parameters())
        # a graph needs an optimizer to have a backward; this one changes nothing
        self.add_optimizer(flow.optim.SGD([alone.unused], lr=0.0))

    def build(self) -> Dict[str, flow.Tensor]:
        return self._differentiate()[1]

    def _differentiate(self) -> Tuple[flow.Tensor, Dict[str, flow.Tensor]]:
        output, loss = self.alone()
        loss.backward()
        named = [(name, p.to(flow.Tensor).grad) for name, p in self.alone.named_parameters()]
        return output, {name: g for name, g in named if name in self.wanted and g is not None}


class OutputGradientGraph(GradientGraph):
    """As `GradientGraph`, and returns the output before the gradients."""

    def build(self) -> Tuple[flow.Tensor, Dict[str, flow.Tensor]]:
        return self._differentiate()
