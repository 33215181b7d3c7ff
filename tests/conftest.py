"""Initialisation that costs next to nothing, for tests that do not look at weights."""

from __future__ import annotations

import pytest

DRAWS = ("kaiming_uniform_", "kaiming_normal_", "normal_", "uniform_")


@pytest.fixture
def no_initialisation(monkeypatch):
    """Weights stay as the memory was: for shapes and counts only."""
    from oneflow import nn

    for name in DRAWS:
        monkeypatch.setattr(nn.init, name, lambda tensor, *rest, **named: tensor)
