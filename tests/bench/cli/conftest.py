from __future__ import annotations

import pytest

from oneflow_bench.bench.report import pictures


@pytest.fixture
def no_pictures(monkeypatch):
    """Runs draw nothing, for tests that look at no picture."""
    monkeypatch.setattr(pictures, "render_pictures", lambda records, folder: [])
