"""One layer in isolation: its call in an eager run is recorded, and run again in either mode."""

from __future__ import annotations

from typing import Any, Dict, Sequence, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ..config import Workload
from ..errors import InputError, describe_type
from ..training.clock import synchronize
from ..training.hooks import list_tensors
from ..training.job import Job, copy_state
from ..training.layer_graph import (
    ForwardGraph,
    GradientGraph,
    LayerAlone,
    copy_layer,
    replace_forwards,
)
from ..training.oneflow_compat import create_padding_operator
from .expressions import describe_model, describe_training, find_constructor
from .tensors import OUTPUT, LayerCall, split_name


def is_graph(mode: str) -> bool:
    """True for graph mode, False for eager mode. Raises InputError for another mode."""
    if mode not in ("eager", "graph"):
        raise InputError(
            f"mode '{mode}' was given and a parity check observes eager and graph mode; give one "
            "of these"
        )
    return mode == "graph"


def find_module(job: Job, name: str) -> Tuple[nn.Module, int]:
    """The module behind the name of a hooked output, and the number of its call, from 1."""
    path, call = split_name(name)
    if path == OUTPUT:
        path = "model"
    elif path.split(".")[0] != "teacher":
        path = f"model.{path}"
    return dict(job.objective.named_modules())[path], call


def record_layer(job: Job, name: str, training: bool, workload: Workload) -> LayerCall:
    """Run the job's next batch eagerly, forward and if `training` backward, and keep one call.

    A layer that has no constructor of its own is taken out of the workload's model. Raises
    ValueError for a call whose inputs are not all tensors, or that did not happen.
    """
    module, wanted = find_module(job, name)
    kept: Dict[str, Any] = {}
    calls = 0
    original = module.forward

    def forward(*inputs: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != wanted:
            return original(*inputs, **named)
        if named or not all(isinstance(value, flow.Tensor) for value in inputs):
            raise ValueError(f"{name} takes more than tensors, and cannot be run in isolation")
        kept["inputs"] = [np.array(value.numpy()) for value in inputs]
        kept["state"] = copy_state(module)
        output = original(*inputs)
        if isinstance(output, flow.Tensor) and output.requires_grad:
            output.register_hook(lambda gradient: kept.update(gradient=np.array(gradient.numpy())))
        return output

    job.model.train(training)
    with replace_forwards() as replace:
        replace(module, forward)
        if training:
            job.objective(*job.train_feed.next_batch()).backward()
        else:
            with flow.no_grad():
                job.evaluate(job.model, job.eval_feed.next_batch()[0])
    if "inputs" not in kept:
        raise ValueError(f"{name} was not called")
    constructor, described = find_constructor(module), {}
    path = split_name(name)[0]
    if constructor is None and path.split(".")[0] != "teacher":
        path = "" if path == OUTPUT else path
        constructor = f"dict(create_model().named_modules())[{path!r}]"
        described = describe_model(workload)
    return LayerCall(
        kind=type(module).__name__,
        constructor=constructor,
        training=module.training,
        inputs=kept["inputs"],
        state=kept["state"],
        output_gradient=kept.get("gradient"),
        described=described,
    )


def record_steps(job: Job, workload: Workload, steps: int) -> LayerCall:
    """The fresh job's weights and first batches, and all else that its train steps are made of.

    Raises ValueError, naming the part, if something has no expression that builds it again.
    """
    try:
        described = describe_training(job, workload)
    except ValueError as error:
        raise ValueError(
            f"the train step has {error}, so it cannot be written as a script"
        ) from None
    tensors = [tensor for _ in range(steps) for tensor in job.train_feed.next_batch()]
    tensors.append(job.eval_feed.next_batch()[0])
    return LayerCall(
        kind=type(job.model).__name__,
        constructor="create_model()",
        training=True,
        inputs=[np.array(tensor.numpy()) for tensor in tensors],
        state=copy_state(job.model),
        output_gradient=None,
        described=described,
    )


def run_isolated(
    module: nn.Module, call: LayerCall, mode: str, dtype: str = "float32"
) -> Dict[str, np.ndarray]:
    """Repeat a recorded call on a copy of its module, and the backward if it has a gradient.

    `mode` is eager or graph. Everything of a floating type is converted to `dtype`; float64 gives a
    reference. The module stays as it is; a `forward` put on the instance is part of the copy if it
    is a bound method, so take recorders off first. Random layers start over from their seed.

    Returns outputs, gradients of inputs and parameters, and buffers after the pass. Their names are
    those of the standalone script. Raises InputError for another mode, and ValueError for an output
    without tensors and for an output gradient of another shape than the output.
    """
    runs_graph = is_graph(mode)
    layer = copy_layer(module)
    layer.load_state_dict({name: flow.tensor(array) for name, array in call.state.items()})
    if layer.training != call.training:
        layer.train(call.training)
    layer = layer.to(getattr(flow, dtype))
    tensors = [_create_tensor(array, dtype) for array in call.inputs]
    gradient = None
    if call.output_gradient is not None:
        gradient = _create_tensor(call.output_gradient, dtype)
    # an integer has no gradient
    needed = [tensor.is_floating_point() and gradient is not None for tensor in tensors]
    alone = LayerAlone(layer, tensors, needed, gradient, guards_inputs=True)
    alone.training = call.training  # of the wrapper; the layer has its own
    output, gradients = _run_graph(alone) if runs_graph else _run_eager(alone)
    outputs = [tensor for _, tensor in list_tensors(output)]
    if not outputs:
        raise ValueError(
            f"{type(module).__name__} returned {describe_type(output)} without tensors; a layer "
            "that runs in isolation returns tensors, or tuples, lists or dicts of them"
        )
    found = dict(zip(_number("output", "", len(outputs)), outputs))
    inputs = zip(alone.input_names, _number("input", " gradient", len(tensors)))
    found.update((name, gradients.pop(own)) for own, name in inputs if own in gradients)
    found.update((f"{name[len('layer.') :]} gradient", g) for name, g in gradients.items())
    found.update(layer.named_buffers())
    return {name: tensor.numpy().copy() for name, tensor in found.items()}


def _number(word: str, suffix: str, count: int) -> Sequence[str]:
    return [f"{word}{suffix}"] if count == 1 else [f"{word} {i}{suffix}" for i in range(count)]


class _PaddedForward(ForwardGraph):
    """With a padding operator: a single layer may end before its launch does, which is fatal."""

    def build(self, *inputs: flow.Tensor) -> Any:
        return super().build(*inputs), create_padding_operator()


class _PaddedGradients(GradientGraph):
    def build(self) -> Any:
        return super().build(), create_padding_operator()


def _run_graph(alone: LayerAlone) -> Tuple[Any, Dict[str, flow.Tensor]]:
    """(output, gradients by name). The graph must live until it has run."""
    if alone.has_backward:
        graph: nn.Graph = _PaddedGradients(alone, returns_output=True)
        output, gradients = graph()[0]
    else:
        graph = _PaddedForward(alone)
        with flow.no_grad():
            output, gradients = graph()[0], {}
    synchronize()
    return output, gradients


def _run_eager(alone: LayerAlone) -> Tuple[Any, Dict[str, flow.Tensor]]:
    if not alone.has_backward:
        with flow.no_grad():
            return alone(), {}
    output, loss = alone()
    loss.backward()
    named = dict(alone.named_parameters())
    gradients = {name: named[name].grad for name in alone.wanted_parameters()}
    return output, {name: g for name, g in gradients.items() if g is not None}


def _create_tensor(array: np.ndarray, dtype: str) -> flow.Tensor:
    return flow.tensor(array.astype(dtype) if np.issubdtype(array.dtype, np.floating) else array)
