"""What a renderer prints, and stored texts that it is compared with.

After a change that is meant, write them anew with BENCH_WRITE_GOLDEN=1 and read the difference.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from rich.console import Console

from oneflow_bench.bench.report.blocks import print_blocks

FOLDER = Path(__file__).resolve().parent.parent / "golden"


def shown(blocks, width=80):
    """The blocks of a report as a terminal of that width shows them."""
    stream = io.StringIO()
    print_blocks(blocks, Console(file=stream, width=width))
    return stream.getvalue()


def assert_golden(name: str, text: str) -> None:
    path = FOLDER / name
    if os.environ.get("BENCH_WRITE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} is not what is stored in tests/golden"
