"""What the studies share: rows stored as they end, a second call that goes on, and how it ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Tuple

from oneflow_bench.bench.errors import BenchError, Interrupted
from oneflow_bench.bench.record.machine import describe_machine
from oneflow_bench.bench.record.run import write_atomically

Row = Dict[str, Any]


def run_main(action: Callable[[], None]) -> int:
    """The exit status of a study's program; errors and Ctrl-C are one line and no traceback."""
    try:
        action()
    except (KeyboardInterrupt, Interrupted):
        print("ended by the user; what was finished is stored", file=sys.stderr)
        return Interrupted.exit_status
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def open_study(out: Path) -> None:
    """The folder of a study, with the machine that it is measured on."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "machine.json", json.dumps(describe_machine(), indent=1) + "\n")


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
        append_row(stored, {"case": case, **row})
        print(f"    {row.get('verdict', 'failed')}: {row.get('reason', row.get('error'))}")


def load_rows(stored: Path) -> List[Row]:
    """The rows of a study so far; a last line that a kill cut short is left out."""
    if not stored.exists():
        return []
    complete = stored.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in complete]


def print_table(stored: Path, render: Callable[[List[Row]], str]) -> None:
    """Print the table of the stored rows, and write it as table.md beside them."""
    rows = load_rows(stored)
    if not rows:
        print(f"nothing is stored in {stored} yet; run it without --report first")
        return
    table = render(rows)
    write_atomically(stored.parent / "table.md", table)
    print(table, end="")


def append_row(stored: Path, row: Row) -> None:
    """Store a row; what a kill left of another is overwritten."""
    rows = [*load_rows(stored), row]
    write_atomically(stored, "".join(json.dumps(one) + "\n" for one in rows))
