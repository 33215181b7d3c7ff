"""Initialisations as the papers give them; all draw from OneFlow's default generator."""

from __future__ import annotations

import math

import oneflow as flow
from oneflow import nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
TRUNCATION_STDS = 2.0


def initialise_he(model: nn.Module, mode: str = "fan_out", linear_std: float = 0.01) -> None:
    """He et al. 2015 (arXiv:1502.01852): convolutions normal with variance 2 / fan_out (or fan_in).

    Batch norm starts as the identity, linear layers with N(0, `linear_std`), biases at zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
        elif isinstance(module, NORMS):
            nn.init.constant_(module.weight, 1.0)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, linear_std)
        else:
            continue
        if module.bias is not None:
            nn.init.constant_(module.bias, 0.0)


def initialise_truncated_normal(module: nn.Module, std: float) -> None:
    """Convolutions and linear layers of `module` normal with `std`, truncated at two of it.

    Biases start at zero; batch norm keeps the identity it is made with.
    """
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            _fill_truncated_normal(layer.weight, std)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, 0.0)


def _fill_truncated_normal(tensor: flow.Tensor, std: float) -> None:
    """By the inverse distribution function: `nn.init.trunc_normal_` of OneFlow 0.9.0 clamps."""
    bound = math.erf(TRUNCATION_STDS / math.sqrt(2))
    with flow.no_grad():
        nn.init.uniform_(tensor, -bound, bound)
        tensor.copy_(flow.erfinv(tensor) * (math.sqrt(2) * std))
