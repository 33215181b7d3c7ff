"""Initialisations as the papers give them; all draw from OneFlow's default generator."""

from __future__ import annotations

from oneflow import nn


def initialise_he(model: nn.Module, linear_std: float = 0.01) -> None:
    """He et al. 2015 (arXiv:1502.01852): convolutions normal with variance 2 / fan_out.

    Batch norm starts as the identity, linear layers with N(0, `linear_std`), biases at zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 1.0)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, linear_std)
        else:
            continue
        if module.bias is not None:
            nn.init.constant_(module.bias, 0.0)
