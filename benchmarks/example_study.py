"""The examples in both modes: the same step, and worth it?

    python benchmarks/example_study.py [--budget 60]

Checks each file of examples/ with three seeds and compares it once. Each row is stored as it ends
(results/examples/rows.jsonl), and a second call goes on where the first stopped. table.md has a row
for each example.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import List, Tuple

from study import Row, load_rows, open_study, run_main, run_study

import oneflow_bench as ob
from oneflow_bench.bench.record.run import write_atomically
from oneflow_bench.bench.report.format import format_mib, format_short_interval

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "results" / "examples"
SEEDS = (0, 1, 2)
STEPS_PER_EPOCH = 20


def list_examples() -> List[str]:
    """The names of the files; each has a step of its own name."""
    return sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


def check_example(name: str, seed: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        found = ob.check(f"examples.{name}:{name}", seed=seed, out=f"{folder}/check").check
    return {"example": name, "verdict": found.verdict, "reason": found.reason}


def compare_example(name: str, budget_s: float) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        result = ob.compare(
            f"examples.{name}:{name}", epochs=1, steps_per_epoch=STEPS_PER_EPOCH,
            budget_s=budget_s, out=f"{folder}/run",
        )  # fmt: skip
    (one,) = result.comparisons
    return {
        "example": name,
        "verdict": result.verdict,
        "reason": f"parity {result.parity}",
        "parity": result.parity,
        "speedup": format_short_interval(result.speedup),
        "train_step_time_s": [
            side.train_step_time_s and side.train_step_time_s.median
            for side in (one.baseline, one.contender)
        ],
        "compile_s": one.contender.compile_s,
        "peak_rss_bytes": [one.baseline.peak_rss_bytes, one.contender.peak_rss_bytes],
    }


def write_table(rows: List[Row]) -> str:
    """Markdown of what is stored."""
    lines = [
        "| example | parity, 3 seeds | speedup of graph (95 %) | speed | compile, s | peak MiB |",
        "|---|---|---:|---|---:|---:|",
    ]
    for name in list_examples():
        mine = [row for row in rows if row.get("example") == name]
        checks = sorted({row["verdict"] for row in mine if "speedup" not in row})
        for row in (row for row in mine if "speedup" in row):
            memory = " and ".join(map(format_mib, row["peak_rss_bytes"]))
            lines.append(
                f"| {name} | {', '.join(checks)} | {row['speedup']} | {row['verdict']} "
                f"| {row['compile_s']:.2f} | {memory} |"
            )
    return "\n".join(lines) + "\n"


def run(budget_s: float) -> None:
    open_study(OUT)
    stored = OUT / "rows.jsonl"
    sys.path.insert(0, str(ROOT))
    names = list_examples()
    checks: List[Tuple[str, Tuple[str, int]]] = [
        (f"{name}/seed {seed}", (name, seed)) for name in names for seed in SEEDS
    ]
    run_study(stored, checks, check_example)
    run_study(stored, [(f"{name}/compare", (name, budget_s)) for name in names], compare_example)
    table = write_table(load_rows(stored))
    write_atomically(OUT / "table.md", table)
    print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of each comparison")
    options = parser.parse_args()
    return run_main(lambda: run(options.budget))


if __name__ == "__main__":
    sys.exit(main())
