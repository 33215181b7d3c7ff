"""Are processes that have trained as fast as fresh ones? They might be the first replicate.

    python benchmarks/trained_replicate.py --count 10            # of each mode, in pieces
    python benchmarks/trained_replicate.py --report

The training leaves two processes that are warm and compiled, and the speed phase starts fresh ones.
Each comparison here is the speed phase of one program with itself, but the contender's processes
train and validate before they are warmed up, as those of a training do. A ratio above 1 says that
the trained processes are faster. Each comparison is stored as it ends (rows.jsonl), and a second
call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
from study import Row, open_study, print_table, run_main, run_study
from verdict_quality_cells import pack_blocks, unpack_blocks

from oneflow_bench.bench.config import Contender, Measuring
from oneflow_bench.bench.measure.execution import execute_speed
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.record.events import SpeedBlockEvent
from oneflow_bench.bench.record.machine import describe_load
from oneflow_bench.bench.record.run import Document
from oneflow_bench.bench.verdict.estimate import PROCESS_ESTIMATES, estimate_speedup
from oneflow_bench.bench.verdict.statistics import t_quantile
from oneflow_bench.bench.verdict.summary import collect_waves, summarize_record_speed
from oneflow_bench.bench.worker.environment import RuntimeResolver
from oneflow_bench.bench.worker.messages import Launcher, Worker
from oneflow_bench.bench.worker.process import create_launcher

MODES = ("eager", "graph")
FRESH, TRAINED = "fresh", "trained"
BLOCK_STEPS = 10  # of the training


class TrainedWorker:
    """A worker that trains and validates once it is compiled, and then goes on as any other."""

    def __init__(self, worker: Worker, steps: int) -> None:
        self._worker, self._steps = worker, steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def ask(self, call: str, timeout_s: float, **arguments: Any) -> Any:
        answer = self._worker.ask(call, timeout_s, **arguments)
        if call == "compile":
            for _ in range(self._steps // BLOCK_STEPS):
                self._worker.ask("train", timeout_s, steps=BLOCK_STEPS)
            self._worker.ask("eval", timeout_s, subject="validation")
        return answer


def train_contender(launch: Launcher, steps: int) -> Callable[[Contender], Worker]:
    """Workers of the role contender train first."""

    def start(contender: Contender) -> Worker:
        worker = launch(contender)
        trains = contender.name.startswith("speed-contender-")
        return TrainedWorker(worker, steps) if trains else worker

    return start


def run_comparison(mode: str, number: int, options: argparse.Namespace) -> Row:
    plan = create_plan({"model": options.model, "seed": number})
    contenders = [Contender(name=name, mode=mode) for name in (FRESH, TRAINED)]
    document = Document(
        run_id=f"trained-replicate-{mode}-{number}",
        command="compare",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        workload=plan.workload,
        measuring=Measuring(speed=True, budget_s=options.budget),
        contenders=contenders,
        train_samples=plan.train_samples,
        val_samples=plan.val_samples,
        steps_per_epoch=plan.steps_per_epoch,
    )
    load = describe_load()["load"][0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        launch = train_contender(create_launcher(folder, RuntimeResolver()), options.steps)
        record = execute_speed(document, folder, launch, plan.prepare_dataset)
    speed = summarize_record_speed(record, FRESH, TRAINED)
    assert speed is not None
    return {
        "mode": mode,
        "model": options.model,
        "steps": options.steps,
        "load": load,
        "verdict": speed.judgement.verdict,
        "reason": f"ratio {speed.judgement.speedup.ratio:.4f}",
        "processes": pack_blocks(record.of_kind(SpeedBlockEvent)),
    }


def render_rows(rows: List[Row]) -> str:
    """The mean ratio of each mode by each process estimate, with its 95 % interval."""
    lines = [
        "| mode | comparisons | summarised by | fresh over trained, 95 % interval | verdicts |",
        "|---|---:|---|---:|---|",
    ]
    for mode in MODES:
        mine = [row for row in rows if row.get("mode") == mode]
        verdicts: Dict[str, int] = {}
        for row in mine:
            verdicts[row["verdict"]] = verdicts.get(row["verdict"], 0) + 1
        told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
        for name, summarise in PROCESS_ESTIMATES.items() if mine else ():
            waves = [
                collect_waves(unpack_blocks(row["processes"]), lambda b: b.step_time_s)
                for row in mine
            ]
            logs = np.array([estimate_speedup(each, summarise).log_ratio for each in waves])
            ends = "no interval"
            if len(logs) > 1:
                half = t_quantile(len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs))
                low, high = (math.exp(logs.mean() + sign * half) for sign in (-1, 1))
                ends = f"{low:.4f} to {high:.4f}"
            shown = f"{math.exp(logs.mean()):.4f} ({ends})"
            lines.append(f"| {mode} | {len(mine)} | {name} | {shown} | {told} |")
    return "\n".join(lines) + "\n"


def study(options: argparse.Namespace) -> None:
    store = options.out / "rows.jsonl"
    if not options.report:
        open_study(options.out)
        cases = [
            (f"{mode} {number}", (mode, number, options))
            for number in range(options.count)
            for mode in MODES
        ]
        run_study(store, cases, run_comparison)
    print_table(store, render_rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/trained-replicate"))
    parser.add_argument("--model", default="lenet")
    parser.add_argument("--steps", type=int, default=120, help="that a trained process has done")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of each comparison")
    parser.add_argument("--count", type=int, default=10, help="comparisons of each mode")
    parser.add_argument("--report", action="store_true", help="only print what is stored")
    options = parser.parse_args()
    return run_main(lambda: study(options))


if __name__ == "__main__":
    sys.exit(main())
