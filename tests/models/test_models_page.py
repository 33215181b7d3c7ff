"""docs/models.md names every model's family."""

from __future__ import annotations

from pathlib import Path

from oneflow_bench.models.table import TABLE

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "models.md"


def test_the_page_names_the_initialisation_of_every_family():
    rows = PAGE.read_text(encoding="utf-8").split("## Initialisation")[1].split("##")[0]
    named = {name.strip() for row in rows.splitlines() for name in row.split("|")[1:2]}
    named = {name for cell in named for name in cell.split(", ")}
    assert {spec.family for spec in TABLE} <= named
