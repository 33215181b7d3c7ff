"""docs/models.md holds what `bench models` prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from oneflow_bench.models.table import TABLE

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "models.md"


def test_the_table_of_the_page_is_the_printed_one():
    done = subprocess.run(
        [sys.executable, "-m", "oneflow_bench", "models"],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
    )
    printed = "\n".join(line.rstrip() for line in done.stdout.decode("utf-8").splitlines())
    assert f"```\n{printed}\n```" in PAGE.read_text(encoding="utf-8")


def test_the_page_names_the_initialisation_of_every_family():
    rows = PAGE.read_text(encoding="utf-8").split("## Initialisation")[1].split("##")[0]
    named = {name.strip() for row in rows.splitlines() for name in row.split("|")[1:2]}
    named = {name for cell in named for name in cell.split(", ")}
    assert {spec.family for spec in TABLE} <= named
