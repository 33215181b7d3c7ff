"""One layer run alone on recorded inputs, in either mode: does it still differ without the rest?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ..training.clock import synchronize
from ..training.layer_graph import ForwardGraph, GradientGraph, LayerAlone, copy_layer
from ..training.oneflow_compat import create_padding_operator


@dataclass(frozen=True)
class LayerRun:
    """What a layer gave, as copies in NumPy.

    `input_gradients` has an entry for each input, None where the input is not of a floating type
    or nothing was differentiated. `parameter_gradients` and `buffers` go by the layer's own names;
    buffers are as the pass left them.
    """

    outputs: Tuple[np.ndarray, ...]
    input_gradients: Tuple[Optional[np.ndarray], ...]
    parameter_gradients: Dict[str, np.ndarray]
    buffers: Dict[str, np.ndarray]

    def tensors(self) -> Dict[str, np.ndarray]:
        """All of it under one name each, as the standalone script calls them too."""
        found = dict(zip(_number("output", "", len(self.outputs)), self.outputs))
        names = _number("input", " gradient", len(self.input_gradients))
        found.update((n, g) for n, g in zip(names, self.input_gradients) if g is not None)
        found.update((f"{n} gradient", g) for n, g in self.parameter_gradients.items())
        return {**found, **self.buffers}


def _number(word: str, suffix: str, count: int) -> Sequence[str]:
    return [f"{word}{suffix}"] if count == 1 else [f"{word} {i}{suffix}" for i in range(count)]


def run_alone(
    module: nn.Module,
    inputs: Sequence[np.ndarray],
    output_gradient: Optional[np.ndarray],
    training: bool,
    mode: str,
    *,
    state: Optional[Mapping[str, np.ndarray]] = None,
    dtype: Optional[str] = None,
    device: str = "cpu",
) -> LayerRun:
    """Run a copy of `module` on `inputs`, forward, and backward from `output_gradient` if given.

    `mode` is eager or graph. Weights and buffers are the module's, or those of `state`. `dtype`
    (float32, float64) converts everything of a floating type, for a reference; None leaves all as
    it is. The module is left alone; a `forward` put on the instance is part of the copy if it is a
    bound method, so take recorders off first. Random layers start over from their seed.

    Raises ValueError for another mode, for a state that does not fit, for an output that is not
    made of tensors, and for an output gradient of another shape than the output.
    """
    if mode not in ("eager", "graph"):
        raise ValueError(f"mode {mode!r} was given; a layer runs alone as 'eager' or 'graph'")
    layer = copy_layer(module)
    if state is not None:
        _load(layer, state)
    if layer.training != training:
        layer.train(training)
    layer = layer.to(device) if dtype is None else layer.to(device, getattr(flow, dtype))
    tensors = [_create_tensor(array, dtype, device) for array in inputs]
    gradient = None if output_gradient is None else _create_tensor(output_gradient, dtype, device)
    # an integer has no gradient
    needed = [tensor.is_floating_point() and gradient is not None for tensor in tensors]
    alone = LayerAlone(layer, tensors, needed, gradient, guards_inputs=True).to(device)
    alone.training = training  # of the wrapper alone; the layer has its own
    graph = _create_graph(alone) if mode == "graph" else None
    output, gradients = _run(alone, graph)
    synchronize()
    arrays = {name: tensor.numpy().copy() for name, tensor in gradients.items()}
    return LayerRun(
        outputs=tuple(tensor.numpy().copy() for tensor in _flatten(output, type(module).__name__)),
        input_gradients=tuple(arrays.get(name) for name in alone.input_names),
        parameter_gradients={
            name[len("layer.") :]: array
            for name, array in arrays.items()
            if name.startswith("layer.")
        },
        buffers={name: tensor.numpy().copy() for name, tensor in layer.named_buffers()},
    )


def _create_graph(alone: LayerAlone) -> nn.Graph:
    if alone.has_backward:
        return _SteadyGradients(alone, returns_output=True)
    return _SteadyForward(alone)


class _SteadyForward(ForwardGraph):
    """With a padding operator: a layer that ends before its launch does ends the process."""

    def build(self, *inputs: flow.Tensor) -> Any:
        return super().build(*inputs), create_padding_operator()


class _SteadyGradients(GradientGraph):
    def build(self) -> Any:
        return super().build(), create_padding_operator()


def _run(alone: LayerAlone, graph: Optional[nn.Graph]) -> Tuple[Any, Dict[str, flow.Tensor]]:
    if not alone.has_backward:
        with flow.no_grad():
            return (alone() if graph is None else graph()[0]), {}
    if graph is not None:
        (output, gradients), _ = graph()
        return output, gradients
    output, loss = alone()
    loss.backward()
    named = dict(alone.named_parameters())
    gradients = {name: named[name].grad for name in alone.wanted_parameters()}
    return output, {name: tensor for name, tensor in gradients.items() if tensor is not None}


def _load(layer: nn.Module, state: Mapping[str, np.ndarray]) -> None:
    own = {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}
    given = {name: array.shape for name, array in state.items()}
    if own != given:
        name = min(name for name in {*own, *given} if own.get(name) != given.get(name))
        raise ValueError(
            f"the state given for {type(layer).__name__} does not fit: {name} has shape "
            f"{given.get(name, 'none')} and the layer's has {own.get(name, 'none')}; give the "
            "parameters and buffers of this very layer"
        )
    layer.load_state_dict({name: flow.tensor(array) for name, array in state.items()})


def _create_tensor(array: np.ndarray, dtype: Optional[str], device: str) -> flow.Tensor:
    if dtype is not None and np.issubdtype(array.dtype, np.floating):
        array = array.astype(dtype)
    return flow.tensor(array, device=device)


def _flatten(output: Any, kind: str) -> Iterator[flow.Tensor]:
    if isinstance(output, flow.Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from _flatten(part, kind)
    else:
        raise ValueError(
            f"{kind} returned a {type(output).__name__}; a layer that runs alone returns tensors, "
            "or tuples and lists of them"
        )
