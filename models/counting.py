"""Sizes of a model, found from the model itself: parameters, multiply-adds, smallest image.

Shapes are found by running the model with convolutions and linear layers that give zeros of the
right shape, so that the largest model takes no longer than its other layers do.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, Tuple

import oneflow as flow
from oneflow import nn

_Forward = Callable[..., Any]
_WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
_BATCH = 2  # batch norm of a single value has no variance


def count_parameters(model: nn.Module) -> int:
    """Elements of all trainable tensors."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs_per_output(layer: nn.Module) -> int:
    """Multiply-adds behind one output element of a Conv2d or Linear; 0 for any other layer.

    A convolution's is in_channels / groups * kernel area, a linear layer's in_features: a weight is
    (outputs, inputs of one output ...).
    """
    if not isinstance(layer, (nn.Conv2d, nn.Linear)):
        return 0
    return int(layer.weight.numel() // layer.weight.shape[0])


def count_macs(model: nn.Module, image_size: int) -> Dict[str, int]:
    """Multiply-adds of each Conv2d and Linear leaf, by name, for one image in evaluation.

    The image is (1, 3, image_size, image_size). A convolution has out_channels * H_out * W_out *
    in_channels / groups * kernel area of them; a layer called several times counts each time, one
    that is not called counts 0. Biases, batch norm, activations and pooling are left out, as in
    torchvision's tables. `model` is left as it was. Raises ValueError as `check_image_size` does.
    """
    counts: Dict[str, int] = {}

    def create_forward(layer: nn.Module, name: str) -> _Forward:
        shaped = _create_shaping_forward(layer, name)
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            return shaped
        counts[name] = 0
        macs_of_output = count_macs_per_output(layer)

        def forward(x: flow.Tensor) -> flow.Tensor:
            output = shaped(x)
            counts[name] += output.numel() * macs_of_output
            return output

        return forward

    with _replaced_forwards(model, create_forward), flow.no_grad():
        model.eval()
        model(flow.zeros(1, 3, image_size, image_size))
    return counts


def check_image_size(model: nn.Module, image_size: int) -> None:
    """Evaluation and training of `model` leave every convolution and pooling an output pixel.

    Raises ValueError naming the layer where not. OneFlow 0.9.0 itself aborts the process there, or
    computes from a window that is not filled. Of `model` only batch norm's running statistics
    change.
    """
    with _replaced_forwards(model, _create_shaping_forward), flow.no_grad():
        for training in (False, True):
            model.train(training)
            model(flow.zeros(_BATCH, 3, image_size, image_size))


def find_min_image_size(model: nn.Module, largest: int) -> int:
    """The smallest square images, in pixels, that pass `check_image_size`, which `largest` must."""
    low, high = 0, largest
    check_image_size(model, high)
    while high - low > 1:
        size = (low + high) // 2
        try:
            check_image_size(model, size)
            high = size
        except ValueError:
            low = size
    return high


@contextmanager
def _replaced_forwards(
    model: nn.Module, create_forward: Callable[[nn.Module, str], _Forward]
) -> Iterator[None]:
    """Give the layers with a window, and the linear ones, another forward for a while."""
    was_training = model.training
    layers = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, (*_WINDOWED, nn.Linear))
    ]
    forwards = [create_forward(layer, name) for name, layer in layers]
    try:
        for (_, layer), forward in zip(layers, forwards):
            layer.forward = forward
        yield
    finally:
        for _, layer in layers:
            vars(layer).pop("forward", None)
        model.train(was_training)


def _create_shaping_forward(layer: nn.Module, name: str) -> _Forward:
    """Zeros of the output's shape for a convolution or linear layer; a pooling is computed."""
    original = layer.forward

    def forward(x: flow.Tensor) -> flow.Tensor:
        if isinstance(layer, nn.Linear):
            return _zeros_like(x, (*x.shape[:-1], layer.out_features))
        height, width = (_output_length(layer, x.shape[2 + axis], axis) for axis in (0, 1))
        if min(height, width) < 1:
            raise ValueError(
                f"the image is too small: {name} looks at {tuple(x.shape[2:])} pixels with a "
                f"window of {layer.kernel_size}; give a larger image size"
            )
        if isinstance(layer, nn.Conv2d):
            return _zeros_like(x, (x.shape[0], layer.out_channels, height, width))
        return original(x)

    return forward


def _zeros_like(x: flow.Tensor, shape: Tuple[int, ...]) -> flow.Tensor:
    return flow.zeros(*shape, dtype=x.dtype, device=x.device)


def _output_length(layer: nn.Module, length: int, axis: int) -> int:
    """Pixels out: (length + 2 padding - dilation (kernel - 1) - 1) / stride, rounded, plus 1."""
    kernel, stride, padding, dilation = (
        value if isinstance(value, int) else value[axis]
        for value in (
            layer.kernel_size,
            layer.stride,
            layer.padding,
            getattr(layer, "dilation", 1),
        )
    )
    room = length + 2 * padding - dilation * (kernel - 1) - 1
    if getattr(layer, "ceil_mode", False):
        return -(-room // stride) + 1
    return int(room // stride) + 1
