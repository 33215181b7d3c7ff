r"""How often is the speed verdict wrong? Real comparisons of a mode with itself, and planted work.

    python benchmarks/verdict_quality.py                    # all of the plan, for hours, in pieces
    python benchmarks/verdict_quality.py --condition hog --kind aa --count 10
    python benchmarks/verdict_quality.py --report           # table and picture of what there is

The same question within a minute, which nothing but the interval ends, in pieces of ten:

    python benchmarks/verdict_quality.py --kind aa --kind aa-graph --budget 60 --count 38 \
        --at-most 10 --out results/verdict-quality-minute
    python benchmarks/verdict_quality.py --kind aa --kind aa-graph --budget 60 --count 38 \
        --at-most 10 --out results/verdict-quality-minute-alexnet --model alexnet_cifar

That is 38 comparisons of each of two modes, two conditions and two models, five hours together.

Kinds: `aa`, the same program on both sides; `aa-graph`, the same in graph mode; and 3, 5 or 10
percent of planted extra work (real matrix products, `planted_worker.py`). Conditions: `quiet`, and
`hog` with a process beside it that keeps one core busy, started and ended here. A comparison is the
speed phase of `bench compare` without the training. Each is stored as it ends (comparisons.jsonl,
raw step times in compact form), and a second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from planting import calibrate, create_planted_launcher
from study import append_row, load_rows, open_study, run_main
from verdict_quality_cells import CONDITIONS, PLANTED, pack_blocks
from verdict_quality_report import write_report

from oneflow_bench.bench.config import Contender, Measuring, Workload
from oneflow_bench.bench.errors import BenchError
from oneflow_bench.bench.measure.execution import execute_speed
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.record.events import InterimAnalysisEvent, SpeedBlockEvent, SpeedSetupEvent
from oneflow_bench.bench.record.machine import describe_load
from oneflow_bench.bench.record.run import Document
from oneflow_bench.bench.verdict.summary import count_analyses, summarize_record_speed
from oneflow_bench.bench.worker.environment import RuntimeResolver

COUNTS = {"aa": 100, "aa-graph": 50, "3": 20, "5": 20, "10": 20}  # for each condition
# seconds of a comparison. A program against itself is found equivalent only when the interval is
# narrow, so without a shorter limit 300 of these would fill a day
BUDGET_S = {"aa": 20.0, "aa-graph": 20.0, "3": 120.0, "5": 120.0, "10": 120.0}
FIRST_SEED = 1000
_HOG = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True: pass
"""


@contextmanager
def beside(condition: str) -> Iterator[None]:
    """A process that keeps a core busy, for `hog`. It ends with this one, whatever happens."""
    if condition != "hog":
        yield
        return
    hog = subprocess.Popen([sys.executable, "-c", _HOG], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        hog.kill()
        hog.communicate()


def run_comparison(
    kind: str,
    number: int,
    options: Any,
    workload: Workload,
    environments: RuntimeResolver,
    products: int,
) -> Dict[str, Any]:
    """Measure once; everything that is kept of it."""
    folder = options.out / "work"
    shutil.rmtree(folder, ignore_errors=True)
    truth = folder / "truth.jsonl"
    seed = FIRST_SEED + number
    mode = "graph" if kind == "aa-graph" else options.mode
    planted = {"PLANTED_PRODUCTS": str(products), "PLANTED_TRUTH": str(truth.resolve())}
    document = Document(
        run_id=f"verdict-quality-{kind}-{number}",
        command="compare",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        workload=workload.model_copy(update={"seed": seed}),
        measuring=Measuring(speed=True, budget_s=options.budget or BUDGET_S[kind]),
        contenders=[
            Contender(name="plain", mode=mode),
            Contender(name="planted", mode=mode, env=planted),
        ],
        train_samples=0,
        val_samples=0,
        steps_per_epoch=workload.steps_per_epoch or 1,
    )

    load = describe_load()
    started, cpu_started = time.perf_counter(), time.process_time()
    record = execute_speed(document, folder, create_planted_launcher(folder, environments))
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    summary = summarize_record_speed(record, "plain", "planted")
    assert summary is not None
    return {
        "kind": kind,
        "number": number,
        "created": document.created,
        "model": workload.model,
        "mode": mode,
        "wall_s": round(wall_s, 2),
        "verdict_s": round(record.of_kind(InterimAnalysisEvent)[-1].started_s, 2),
        "controller_cpu_s": round(cpu_s, 2),
        "load": load["load"][0],
        "looks": count_analyses(record.events),
        "truth": [json.loads(line) for line in _read_lines(truth)],
        "warnings": len(summary.warnings),
        "warmup_steps": {role: each.warmup_steps for role, each in summary.roles.items()},
        "compile_s": [round(s.compile_train_s, 3) for s in record.of_kind(SpeedSetupEvent)],
        "processes": pack_blocks(record.of_kind(SpeedBlockEvent)),
    }


def _read_lines(path: Path) -> List[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def plan_cells(options: Any, done: List[Dict[str, Any]]) -> List[Tuple[str, str, int]]:
    """(condition, kind, number) of what is to be done, conditions and kinds spread evenly."""
    known = {(c["condition"], c["kind"], c["number"]) for c in done}
    wanted = []
    for condition in options.condition or CONDITIONS:
        for kind in options.kind or COUNTS:
            total = COUNTS[kind] if options.count is None else options.count
            for number in range(total):
                if (condition, kind, number) not in known:
                    wanted.append((number / total, condition, kind, number))
    return [(condition, kind, number) for _, condition, kind, number in sorted(wanted)]


def measure(options: Any, store: Path) -> None:
    """Everything that is missing, one line of the store for each comparison."""
    flags = {"model": options.model, "data": "synthetic", "batch_size": options.batch_size}
    if options.image_size:
        flags["image_size"] = options.image_size
    workload = create_plan({**flags, "lr": 0.001}).workload
    environments = RuntimeResolver()
    done = load_rows(store)
    cells = plan_cells(options, done)[: options.at_most]
    products = {kind: 0 for kind in COUNTS if kind not in PLANTED}
    if any(kind in PLANTED for _, kind, _ in cells):
        launch = create_planted_launcher(options.out / "work", environments)
        stored = options.out / "calibration.json"
        products.update(calibrate(stored, PLANTED, workload, options.mode, launch))
    failures = 0
    for index, (condition, kind, number) in enumerate(cells):
        try:
            with beside(condition):
                row = run_comparison(kind, number, options, workload, environments, products[kind])
        except BenchError as error:
            failures += 1
            print(f"{condition} {kind} {number}: {error}", file=sys.stderr)
            if failures > options.failures:
                raise
            continue
        append_row(store, {"condition": condition, **row})
        print(
            f"{index + 1}/{len(cells)} {condition} {kind} {number}: {row['wall_s']:.0f} s",
            file=sys.stderr,
        )


def measure_and_report(options: Any) -> None:
    store = options.out / "comparisons.jsonl"
    try:
        if not options.report:
            open_study(options.out)
            measure(options, store)
        print(write_report(store, options.out), end="")
    finally:
        shutil.rmtree(options.out / "work", ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/verdict-quality"))
    parser.add_argument("--model", default="lenet")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--mode", choices=["eager", "graph"], default="eager")
    parser.add_argument("--condition", choices=CONDITIONS, action="append")
    parser.add_argument("--kind", choices=list(COUNTS), action="append")
    parser.add_argument("--count", type=int, help="comparisons of each cell; default: the plan's")
    parser.add_argument("--at-most", type=int, metavar="N", help="end after so many comparisons")
    parser.add_argument("--budget", type=float, help="seconds of each comparison; 20 for A/A, 120")
    parser.add_argument("--failures", type=int, default=3, help="failed comparisons to live with")
    parser.add_argument("--report", action="store_true", help="only print what is stored")
    options = parser.parse_args()
    return run_main(lambda: measure_and_report(options))


if __name__ == "__main__":
    sys.exit(main())
