"""The main job again and again: how long does it take, and does it end with a verdict?

    python benchmarks/main_job.py                 # ten runs on an idle machine, about 20 minutes
    python benchmarks/main_job.py --report        # the table of those that are stored

A run is `bench compare` without a flag, as `make compare` calls it after the set-up, in a folder
that is removed afterwards. Each is stored as it ends (results/main-job/rows.jsonl), and a second
call goes on where the first stopped. Other work on the machine widens the intervals, so the load
before each run is stored too.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Optional

from study import Row, open_study, print_table, run_main, run_study

from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.record.machine import describe_load
from oneflow_bench.bench.report.format import MISSING, format_number
from oneflow_bench.bench.verdict.judge import INCONCLUSIVE

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "results" / "main-job"
COMMAND = [sys.executable, "-m", "oneflow_bench", "compare"]
FIRST_NUMBER = "loss "  # in a line of the training's log
MOST_S, FIRST_MOST_S, VERDICTS = 120.0, 15.0, 0.8  # aimed at


def run_main_job(flags: List[str]) -> Row:
    """One run. Raises WorkerError if it ends without a comparison."""
    load = describe_load()["load"][0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        started, first_s, lines = time.perf_counter(), None, []
        command = [*COMMAND, *flags, "--out", str(folder)]
        with subprocess.Popen(
            command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if first_s is None and FIRST_NUMBER in line:
                    first_s = time.perf_counter() - started
        seconds = time.perf_counter() - started
        stored = folder / "comparison.json"
        if not stored.is_file():
            status = process.returncode
            raise WorkerError(f"bench compare ended with status {status}", "".join(lines))
        one = json.loads(stored.read_text(encoding="utf-8"))
    return {
        "seconds": round(seconds, 1),
        "first_number_s": first_s and round(first_s, 1),
        "verdict": one["speed_verdict"],
        "reason": one["speed_reason"],
        "speedup": one["speedup"],
        "smallest_effect": one["speed"] and one["speed"]["judgement"]["smallest_effect"],
        "parity": one["parity"],
        "accuracy": one["contender"]["accuracy"][-1:],
        "load": load,
    }


def render_rows(rows: List[Row]) -> str:
    """A line for each run, and those that were aimed at, in Markdown."""
    lines = [
        "| run | load before | first number, s | all, s | speedup (95 % interval) | speed | parity "
        "| accuracy, % |",
        "|---|---:|---:|---:|---:|---|---|---:|",
    ]
    for row in rows:
        ended = "error" not in row
        shown = [
            format_number(row.get("load"), ".1f"),
            format_number(row.get("first_number_s"), ".1f"),
            format_number(row.get("seconds"), ".1f"),
            _format_speedup(row) if ended else MISSING,
            row["verdict"] if ended else "failed",
            row["parity"] if ended else MISSING,
            format_number(next(iter(row.get("accuracy", [])), None), ".1f", 100),
        ]
        lines.append(f"| {row['case']} | {' | '.join(shown)} |")
    whole = [row for row in rows if "error" not in row]
    told = [row for row in whole if row["verdict"] != INCONCLUSIVE]
    seconds = [row["seconds"] for row in whole] or [math.nan]
    first = [row["first_number_s"] for row in whole if row["first_number_s"]] or [math.nan]
    wanted = math.ceil(VERDICTS * len(rows))
    lines += [
        "",
        f"{len(told)} of {len(rows)} runs ended with a verdict; aimed at are {wanted}.",
        f"The median run took {statistics.median(seconds):.0f} s and the longest "
        f"{max(seconds):.0f} s; aimed at are {MOST_S:.0f} s.",
        f"The first number was there after {max(first):.0f} s at the latest; aimed at are "
        f"{FIRST_MOST_S:.0f} s.",
    ]
    return "\n".join(lines) + "\n"


def _format_speedup(row: Row) -> str:
    ratio: Optional[Row] = row["speedup"]
    if ratio is None:
        return MISSING
    ends = [format_number(ratio[end], ".3f") for end in ("low", "high")]
    return f"{ratio['ratio']:.3f} ({' to '.join(ends)})"


def study(options: argparse.Namespace) -> None:
    store = options.out / "rows.jsonl"
    if not options.report:
        open_study(options.out)
        cases = [(str(number), (options.flags,)) for number in range(1, options.count + 1)]
        run_study(store, cases, run_main_job)
    print_table(store, render_rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--count", type=int, default=10, help="runs in all")
    parser.add_argument("--report", action="store_true", help="only print what is stored")
    parser.add_argument("flags", nargs="*", help="flags of bench compare, behind --")
    options = parser.parse_args()
    return run_main(lambda: study(options))


if __name__ == "__main__":
    sys.exit(main())
