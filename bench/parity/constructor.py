"""The expression that builds a layer like one at hand, for a script that stands alone.

Reads a module's attributes and never its printed form, which leaves some of them out (ceil_mode of
a pool). Knows OneFlow's own leaves; imports no OneFlow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

_REQUIRED = object()  # no default: always written


class _Inexpressible(Exception):
    """An attribute has no literal."""


@dataclass(frozen=True)
class _Signature:
    """How a class is called: arguments in order, and those left out where they are the default.

    Defaults are as the module keeps them: `(1, 1)` where the constructor says 1. `tensors` are the
    parameters and buffers that a module of this class may have.
    """

    positional: Tuple[str, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    tensors: Tuple[str, ...] = ()


def _sliding(dimensions: int, **named: Any) -> _Signature:
    """A pool or another window; kernel and stride are always written."""
    return _Signature(
        named={
            "kernel_size": _REQUIRED,
            "stride": _REQUIRED,
            "padding": (0,) * dimensions,
            **named,
        }
    )


def _convolution(dimensions: int) -> _Signature:
    ones, zeros = (1,) * dimensions, (0,) * dimensions
    return _Signature(
        ("in_channels", "out_channels"),
        {
            "kernel_size": _REQUIRED,
            "stride": ones,
            "padding": zeros,
            "dilation": ones,
            "groups": 1,
            "bias": True,
            "padding_mode": "zeros",
        },
        ("weight", "bias"),
    )


def _max_pool(dimensions: int) -> _Signature:
    ones = (1,) * dimensions
    return _sliding(dimensions, dilation=ones, return_indices=False, ceil_mode=False)


_AVERAGE = {"ceil_mode": False, "count_include_pad": True}
_SCALED_AVERAGE = {**_AVERAGE, "divisor_override": 0}
_BATCH_NORM = _Signature(
    ("num_features",),
    {"eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True},
    ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"),
)
_PLAIN = _Signature()
_IN_PLACE = _Signature(named={"inplace": False})
_OUTPUT_SIZE = _Signature(("output_size",))
_DIMENSION = _Signature(named={"dim": None})

_SIGNATURES: Dict[str, _Signature] = {
    "Conv1d": _convolution(1),
    "Conv2d": _convolution(2),
    "Conv3d": _convolution(3),
    "Linear": _Signature(("in_features", "out_features"), {"bias": True}, ("weight", "bias")),
    "BatchNorm1d": _BATCH_NORM,
    "BatchNorm2d": _BATCH_NORM,
    "BatchNorm3d": _BATCH_NORM,
    "GroupNorm": _Signature(
        ("num_groups", "num_channels"), {"eps": 1e-5, "affine": True}, ("weight", "bias")
    ),
    "LayerNorm": _Signature(
        ("normalized_shape",), {"eps": 1e-5, "elementwise_affine": True}, ("weight", "bias")
    ),
    "MaxPool1d": _max_pool(1),
    "MaxPool2d": _max_pool(2),
    "MaxPool3d": _max_pool(3),
    "AvgPool1d": _sliding(1, **_AVERAGE),
    "AvgPool2d": _sliding(2, **_SCALED_AVERAGE),
    "AvgPool3d": _sliding(3, **_SCALED_AVERAGE),
    "AdaptiveAvgPool1d": _OUTPUT_SIZE,
    "AdaptiveAvgPool2d": _OUTPUT_SIZE,
    "AdaptiveAvgPool3d": _OUTPUT_SIZE,
    "Dropout": _Signature(named={"p": _REQUIRED, "inplace": False}),
    "Flatten": _Signature(named={"start_dim": 1, "end_dim": -1}),
    "Identity": _PLAIN,
    "ReLU": _IN_PLACE,
    "ReLU6": _IN_PLACE,
    "SiLU": _IN_PLACE,
    "Mish": _IN_PLACE,
    "SELU": _IN_PLACE,
    "Softsign": _IN_PLACE,
    "Hardswish": _IN_PLACE,
    "Hardsigmoid": _IN_PLACE,
    "Sigmoid": _PLAIN,
    "LogSigmoid": _PLAIN,
    "Tanh": _PLAIN,
    "GELU": _Signature(named={"approximate": "none"}),
    "ELU": _Signature(named={"alpha": 1.0, "inplace": False}),
    "CELU": _Signature(named={"alpha": 1.0, "inplace": False}),
    "LeakyReLU": _Signature(named={"negative_slope": 0.01, "inplace": False}),
    "Hardtanh": _Signature(named={"min_val": -1, "max_val": 1, "inplace": False}),
    "Softplus": _Signature(named={"beta": 1, "threshold": 20}),
    "PReLU": _Signature(named={"num_parameters": 1}, tensors=("weight",)),
    "Softmax": _DIMENSION,
    "LogSoftmax": _DIMENSION,
}

# arguments that the module does not keep under their own name
_DERIVED: Dict[str, Callable[[Any], Any]] = {"bias": lambda module: module.bias is not None}


def find_constructor(module: Any) -> Optional[str]:
    """A Python expression over `nn` that builds a layer equal to `module` up to its tensors.

    Parameters and buffers are not part of it; the random state of a Dropout is OneFlow's default.
    None where no such expression exists: a class that is not OneFlow's own or not known here, a
    module with children, hooks or a `forward` of its own put on the instance, with parameters or
    buffers beyond its class's, a seeded Dropout, or a layout of channels last.
    """
    cls = type(module)
    signature = _SIGNATURES.get(cls.__name__)
    if signature is None or not cls.__module__.startswith("oneflow.nn."):
        return None
    if _is_altered(module, signature):
        return None
    try:
        arguments = [_write_literal(getattr(module, name)) for name in signature.positional]
        for name, default in signature.named.items():
            value = _DERIVED[name](module) if name in _DERIVED else getattr(module, name)
            if default is _REQUIRED or value != default:
                arguments.append(f"{name}={_write_literal(value)}")
    except (AttributeError, ValueError, _Inexpressible):
        return None
    return f"nn.{cls.__name__}({', '.join(arguments)})"


def _is_altered(module: Any, signature: _Signature) -> bool:
    """True where the instance has something that its class and arguments do not say."""
    tensors = set(module._parameters) | set(module._buffers)
    return (
        "forward" in vars(module)
        or next(module.children(), None) is not None
        or bool(module._forward_hooks)
        or bool(module._forward_pre_hooks)
        or not tensors <= set(signature.tensors)
        or getattr(module, "channel_pos", "channels_first") != "channels_first"
        or getattr(module, "channel_axis", 1) != 1
        or _has_own_seed(module)
    )


def _has_own_seed(module: Any) -> bool:
    if not hasattr(module, "generator"):
        return False
    seed: int = module.generator.initial_seed()
    default: int = type(module)().generator.initial_seed()  # the same for every fresh layer
    return seed != default


def _write_literal(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        items = [_write_literal(item) for item in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if value is None or isinstance(value, (bool, int, str)):
        return repr(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    raise _Inexpressible
