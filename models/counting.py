"""Sizes of a model, found from the model itself."""

from __future__ import annotations

from typing import Any, Callable, Dict

import oneflow as flow
from oneflow import nn


def count_parameters(model: nn.Module) -> int:
    """Elements of all trainable tensors."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, image_size: int) -> Dict[str, int]:
    """Multiply-adds of each Conv2d and Linear leaf, by name, for one image in evaluation.

    Runs `model` on (1, 3, image_size, image_size) zeros; its mode and its forward methods are
    restored. A convolution does out_channels * H_out * W_out * in_channels / groups * kernel area
    of them; a layer called several times counts each time, one that is not called counts 0. Biases,
    batch norm, activations and pooling are left out, as in torchvision's tables. Raises what the
    model raises where the image is too small.
    """
    counts: Dict[str, int] = {}
    wrapped = []
    was_training = model.training
    try:
        for name, layer in model.named_modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                counts[name] = 0
                layer.forward = _counting_forward(layer, name, counts)
                wrapped.append(layer)
        model.eval()
        with flow.no_grad():
            model(flow.zeros(1, 3, image_size, image_size))
    finally:
        for layer in wrapped:
            del layer.forward
        model.train(was_training)
    return counts


def _counting_forward(layer: nn.Module, name: str, counts: Dict[str, int]) -> Callable[..., Any]:
    original = layer.forward

    def forward(x: flow.Tensor) -> flow.Tensor:
        output = original(x)
        # a weight is (outputs, inputs of one output, ...): the latter are its multiply-adds
        counts[name] += output.numel() * (layer.weight.numel() // layer.weight.shape[0])
        return output

    return forward
