"""Studies made of many cases: each stored as it ends, and a second call goes on from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterable, List, Tuple

from oneflow_bench.errors import BenchError

Row = Dict[str, Any]


def run_study(stored: Path, cases: Iterable[Tuple[str, Any]], run: Any) -> None:
    """Run the cases that are not stored yet; a case that fails has a row that says so."""
    done = {row["case"] for row in load_rows(stored)}
    wanted = [(case, arguments) for case, arguments in cases if case not in done]
    for number, (case, arguments) in enumerate(wanted, start=1):
        print(f"{number}/{len(wanted)} {case}", flush=True)
        try:
            row = run(*arguments)
        except BenchError as error:
            row = {"error": str(error), "log_tail": getattr(error, "log_tail", "")[-500:]}
        with stored.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"case": case, **row}) + "\n")
        print(f"    {row.get('verdict', 'failed')}: {row.get('reason', row.get('error'))}")


def load_rows(stored: Path) -> List[Row]:
    """The rows of a study so far."""
    if not stored.exists():
        return []
    return [json.loads(line) for line in stored.read_text(encoding="utf-8").splitlines()]
