"""The examples in both modes: the same step, and worth it?

    python benchmarks/example_study.py [--budget 60] [--cases 'fault/*']

Checks each file of examples/ with three seeds and compares it once. Then faults are planted in the
graph of these steps (faults/steps.py), and each must be found and named. Each row is stored as it
ends (results/examples/rows.jsonl), and a second call goes on where the first stopped. table.md has
a row for each example, and one for each fault.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable, List, Tuple

from study import Row, load_rows, open_study, run_main, run_study

import oneflow_bench as ob
from oneflow_bench.bench.record.run import write_atomically
from oneflow_bench.bench.report.format import format_mib, format_short_interval

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for `examples`

from faults.steps import FAULTS  # noqa: E402

OUT = ROOT / "results" / "examples"
SEEDS = (0, 1, 2)
STEPS_PER_EPOCH = 20


def list_examples() -> List[str]:
    """The names of the files that train; each has a step of its own name.

    One without a loss has an inference only. That of flowvision needs its library.
    """
    files = sorted((ROOT / "examples").glob("*.py"))
    trained = [path.stem for path in files if "bench compare" in path.read_text(encoding="utf-8")]
    return [name for name in trained if name != "vision" or find_spec("flowvision")]


def check_example(name: str, seed: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        found = ob.check(f"examples.{name}:{name}", seed=seed, out=f"{folder}/check").check
    return {"example": name, "verdict": found.verdict, "reason": found.reason}


def check_fault(name: str) -> Row:
    """The verdict of a check of a step with a fault, and the first difference."""
    fault = FAULTS[name]
    with tempfile.TemporaryDirectory() as folder:
        found = ob.check(f"faults.steps:{name}", out=f"{folder}/check", **fault.flags).check
    origin = found.origin
    return {
        "fault": fault.title,
        "verdict": found.verdict,
        "level": origin.level if origin else "",
        "tensor": origin.name if origin else "",
        "reason": found.reason,
    }


def is_named(row: Row) -> bool:
    """Whether the first difference is at the fault's level, and it or its reason has the place."""
    fault = FAULTS[row["case"].partition("/")[2]]
    place = f"{row['tensor']}\n{row['reason']}"
    return bool(
        re.search(fault.levels, row["level"], re.I) and re.search(fault.names, place, re.MULTILINE)
    )


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
    faults = [row for row in rows if "fault" in row]
    found = sum(row["verdict"] == "different" for row in faults)
    lines += [
        "",
        f"Planted in a graph: {len(faults)} faults, {found} found, "
        f"{sum(map(is_named, faults))} named at their level and place.",
        "",
        "| planted fault | verdict | first difference | named |",
        "|---|---|---|---|",
    ]
    for row in faults:
        place = row["reason"].partition(";")[0]
        lines.append(
            f"| {row['fault']} | {row['verdict']} | {place} | {'yes' if is_named(row) else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def run(budget_s: float, wanted: str) -> None:
    open_study(OUT)
    paths = [str(ROOT / "benchmarks"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))  # of the workers
    stored = OUT / "rows.jsonl"
    names = list_examples()
    studies: List[Tuple[Callable[..., Row], List[Tuple[str, Tuple[Any, ...]]]]] = [
        (check_example, [(f"{n}/seed {seed}", (n, seed)) for n in names for seed in SEEDS]),
        (compare_example, [(f"{name}/compare", (name, budget_s)) for name in names]),
        (check_fault, [(f"fault/{name}", (name,)) for name in FAULTS]),
    ]
    for action, cases in studies:
        run_study(stored, [one for one in cases if fnmatch.fnmatch(one[0], wanted)], action)
    table = write_table(load_rows(stored))
    write_atomically(OUT / "table.md", table)
    print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of each comparison")
    parser.add_argument("--cases", default="*", help="wildcard of the cases to run")
    options = parser.parse_args()
    return run_main(lambda: run(options.budget, options.cases))


if __name__ == "__main__":
    sys.exit(main())
