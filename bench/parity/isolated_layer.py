"""One layer in isolation: its call in an eager run is recorded, and run again in either mode."""

from __future__ import annotations

import inspect
import math
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ..errors import InputError
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
from .tensors import OUTPUT, LayerCall, split_name

# an expression builds OneFlow's own leaves, whose attributes have the names of their arguments
_MODULES = frozenset(
    f"oneflow.nn.modules.{name}"
    for name in ("activation", "batchnorm", "conv", "dropout", "flatten", "linear",
                 "normalization", "pooling")
)  # fmt: skip
_TENSORS = frozenset(("weight", "bias", "running_mean", "running_var", "num_batches_tracked"))
_NAMED = ("kernel_size", "p")  # arguments that are always written, with their names
# arguments that change no result here, or that another argument has replaced
_SKIPPED = ("self", "args", "kwargs", "device", "dtype", "generator", "init",
            "min_value", "max_value")  # fmt: skip


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


def record_layer(job: Job, name: str, training: bool) -> LayerCall:
    """Run the job's first batch eagerly, forward and if `training` backward, and keep one call.

    Raises ValueError for a call whose inputs are not all tensors, or that did not happen.
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
                job.model(job.eval_feed.next_batch()[0])
    if "inputs" not in kept:
        raise ValueError(f"{name} was not called")
    return LayerCall(
        kind=type(module).__name__,
        constructor=find_constructor(module),
        training=module.training,
        inputs=kept["inputs"],
        state=kept["state"],
        output_gradient=kept.get("gradient"),
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
            f"{type(module).__name__} returned a {type(output).__name__} without tensors; a layer "
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


def find_constructor(module: Any) -> Optional[str]:
    """A Python expression over `nn` that builds a layer equal to `module` up to its tensors.

    Arguments that have the default of the class are left out. Parameters and buffers are not part
    of it; the random state of a Dropout is OneFlow's default. None if no such expression exists: a
    class that is not a leaf of OneFlow's own, a module with children, hooks or a `forward` put on
    the instance, with parameters or buffers beyond its class's, a seeded Dropout, or a layout of
    channels last. Reads attributes and not the printed form, which leaves some of them out
    (ceil_mode of a pool).
    """
    cls = type(module)
    if cls.__module__ not in _MODULES or _is_altered(module):
        return None
    arguments = []
    try:
        for name, parameter in inspect.signature(cls.__init__).parameters.items():
            if name in _SKIPPED:
                continue
            value = module.bias is not None if name == "bias" else getattr(module, name)
            if parameter.default is parameter.empty and name not in _NAMED:
                arguments.append(_write_literal(value))
            elif name in _NAMED or not _equals(value, parameter.default):
                arguments.append(f"{name}={_write_literal(value)}")
    except (AttributeError, ValueError):
        return None
    return f"nn.{cls.__name__}({', '.join(arguments)})"


def _equals(value: Any, default: Any) -> bool:
    """True for the default; a module keeps `(1, 1)` if its constructor says 1."""
    if isinstance(value, (tuple, list)) and not isinstance(default, (tuple, list)):
        return all(item == default for item in value)
    return bool(value == default)


def _is_altered(module: Any) -> bool:
    """True if the instance has something beyond its class and arguments."""
    tensors = set(module._parameters) | set(module._buffers)
    # a fresh layer's random numbers begin with the same seed
    own_seed = hasattr(module, "generator") and (
        module.generator.initial_seed() != type(module)().generator.initial_seed()
    )
    return (
        "forward" in vars(module)
        or next(module.children(), None) is not None
        or bool(module._forward_hooks)
        or bool(module._forward_pre_hooks)
        or not tensors <= _TENSORS
        or getattr(module, "channel_pos", "channels_first") != "channels_first"
        or getattr(module, "channel_axis", 1) != 1
        or own_seed
    )


def _write_literal(value: Any) -> str:
    """Raises ValueError for a value without a literal."""
    if isinstance(value, (tuple, list)):
        items = [_write_literal(item) for item in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if value is None or isinstance(value, (bool, int, str)):
        return repr(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    raise ValueError(f"{value!r} has no literal")
