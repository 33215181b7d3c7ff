from __future__ import annotations

import pytest

from oneflow_bench.bench.tools.doctor import product_checks


@pytest.fixture(autouse=True)
def no_other_blas(monkeypatch):
    """A made-up machine has no other BLAS, whatever this one has."""
    monkeypatch.setattr(product_checks, "list_found", lambda python, environment: [])
