"""Which leaves a train step uses, on tensors of which shapes: found by one forward pass."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import oneflow as flow
from oneflow import nn

from ....models.counting import count_macs_per_output
from ...training.layer_graph import replace_forwards
from .work import (
    ADAPTIVE_POOL,
    AVG_POOL,
    ELEMENT_WISE,
    MAX_POOL,
    NORM,
    OTHER,
    PARAMETER,
    PRODUCT,
    RESHAPE,
    CallShape,
    LayerTrace,
)

_OPERATIONS = {
    PRODUCT: (nn.Conv2d, nn.Linear),
    NORM: (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    MAX_POOL: (nn.MaxPool2d,),
    AVG_POOL: (nn.AvgPool2d,),
    ADAPTIVE_POOL: (nn.AdaptiveAvgPool2d,),
    ELEMENT_WISE: (
        nn.ReLU,
        nn.ReLU6,
        nn.LeakyReLU,
        nn.ELU,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.Tanh,
        nn.Sigmoid,
        nn.Hardsigmoid,
        nn.Hardswish,
        nn.Hardtanh,
        nn.Dropout,
    ),
    RESHAPE: (nn.Identity, nn.Flatten),
}


def trace_layers(model: nn.Module, images: flow.Tensor) -> List[LayerTrace]:
    """The leaves of `model` that a training step on `images` (N, C, H, W) calls, in order.

    A module that has children and parameters of its own follows as one without calls: its
    parameters are updated, what it computes with them is not counted. Running statistics of batch
    norm move as in a step; else `model` is left as it was.
    """
    calls: Dict[int, List[CallShape]] = {}
    modules: Dict[int, Any] = {}

    def record(name: str, module: nn.Module, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*inputs: Any, **named: Any) -> Any:
            output = original(*inputs, **named)
            modules[id(module)] = (name, module)
            if inputs and isinstance(inputs[0], flow.Tensor) and isinstance(output, flow.Tensor):
                shape = CallShape(
                    input_shape=list(inputs[0].shape),
                    output_shape=list(output.shape),
                    needs_input_gradient=bool(inputs[0].requires_grad),
                )
                calls.setdefault(id(module), []).append(shape)
            return output

        return forward

    was_training = model.training
    model.train()
    with replace_forwards() as replace:
        for name, module in model.named_modules():
            if next(module.children(), None) is None:
                replace(module, record(name, module, module.forward))
        model(images)
    model.train(was_training)
    leaves = [
        _describe(name or type(module).__name__, module, calls.get(number, []))
        for number, (name, module) in modules.items()
    ]
    return leaves + _trace_parameters(model)


def _describe(name: str, module: nn.Module, calls: List[CallShape]) -> LayerTrace:
    kinds = [kind for kind, classes in _OPERATIONS.items() if isinstance(module, classes)]
    operation = kinds[0] if kinds else OTHER
    return LayerTrace(
        name=name,
        kind=type(module).__name__,
        operation=operation,
        calls=calls,
        num_params=sum(p.numel() for p in module.parameters() if p.requires_grad),
        has_bias=operation == PRODUCT and module.bias is not None,
        macs_per_output=count_macs_per_output(module),
        window=_window(module) if operation in (MAX_POOL, AVG_POOL) else 0,
    )


def _window(module: Any) -> int:
    size = module.kernel_size
    return int(size * size) if isinstance(size, int) else int(size[0] * size[1])


def _trace_parameters(model: nn.Module) -> List[LayerTrace]:
    found = []
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if p.requires_grad]
        if own and next(module.children(), None) is not None:
            found.append(
                LayerTrace(
                    name=name or type(module).__name__,
                    kind=type(module).__name__,
                    operation=PARAMETER,
                    calls=[],
                    num_params=sum(p.numel() for p in own),
                )
            )
    return found
