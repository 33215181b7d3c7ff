from __future__ import annotations

from pathlib import Path

import pytest
from golden import shown
from made_checks import create_check, create_side, create_stored

from oneflow_bench.bench.report.baseline_update import report_update


def test_an_update_shows_old_and_new():
    old = create_stored(create_check(graph=create_side(graph_ops=60)), oneflow="0.8.0")
    text = shown(report_update(old, create_stored(create_check()), Path("b/lenet.json")), width=120)
    assert "b/lenet.json" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["OneFlow", "0.8.0", "0.9.0"] in rows
    assert any(row[:4] == ["graph", "operators", "60", "50"] for row in rows)
    assert "losses" not in text


def test_an_update_of_the_workload_shows_the_fields():
    check = create_check()
    old = create_check(workload=check.workload.model_copy(update={"lr": 0.5}))
    text = shown(report_update(create_stored(old), create_stored(check), Path("lenet.json")))
    assert ["lr", "0.5", "0.02"] in [line.split() for line in text.splitlines()]


@pytest.mark.parametrize(
    "old, words",
    [(None, "The first baseline: identical, 50 graph operators."), (1, "Nothing changes")],
)
def test_an_update_without_a_difference_says_so(old, words):
    new = create_stored(create_check())
    assert words in shown(report_update(new if old else None, new, Path("lenet.json")))
