"""How often a graph that is quick to end ends its process, and what keeps it from that.

    python benchmarks/launch_race.py [--processes 8] [--seconds 20]

OneFlow 0.9.0 hands a graph to the threads that run it and only then enters it in a queue, from
which the graph's end takes it. Here processes call one graph again and again, with a
synchronisation after each call, until they die or their time is over. Ballast makes the graph last
longer than its launch. Batch scheduling (SCHED_BATCH) is the kernel's word for threads that do not
preempt others when they wake up: the launch wakes the threads that run the graph, and is else put
off by them. What each came to is stored in results/launch-race, and the table printed is of
everything stored.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

from study import Row, load_rows, run_study

RESULTS = Path(__file__).resolve().parents[1] / "results" / "launch-race"
GRAPHS = {
    "one addition of 2 numbers": (2,),
    "one addition of a million": (1_000_000,),
    "one addition of 2 numbers, with a padding operator": (2,),
    "one addition of 2 numbers, batch scheduling": (2,),
    "one addition of a million, batch scheduling": (1_000_000,),
}
REPORT_EVERY = 20  # calls


def call_for(name: str, seconds: float) -> None:
    """Call a graph for so long, and print every few calls how many there were."""
    if name.endswith("batch scheduling"):  # before OneFlow starts threads, which inherit it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    import oneflow as flow
    from oneflow import nn

    from oneflow_bench.bench.training.clock import synchronize
    from oneflow_bench.bench.training.oneflow_compat import create_padding_operator

    class Addition(nn.Graph):
        def build(self, x: flow.Tensor) -> Any:
            return (
                (x + 1, create_padding_operator()) if name.endswith("padding operator") else x + 1
            )

    graph, x = Addition(), flow.zeros(*GRAPHS[name])
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        graph(x)
        synchronize()
        calls += 1
        if calls % REPORT_EVERY == 0:
            print(calls, f"{time.perf_counter() - start:.3f}", flush=True)


def run_process(name: str, seconds: float) -> Row:
    """Calls that a process survived, its seconds, and the signal that it died of, if any."""
    command = [sys.executable, __file__, "--graph", name, "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = [line.split() for line in done.stdout.splitlines() if line[:1].isdigit()]
    calls, duration_s = lines[-1] if lines else ("0", "0")
    died = f"died of signal {-done.returncode}" if done.returncode < 0 else "survived"
    return {
        "graph": name,
        "calls": int(calls),
        "duration_s": float(duration_s),
        "returncode": done.returncode,
        "verdict": died,
        "reason": f"{calls} calls",
    }


def render_table(rows: List[Row]) -> str:
    """A row a graph: processes, deaths, calls altogether and milliseconds of a call."""
    found: Dict[str, List[Row]] = {name: [] for name in GRAPHS}
    for row in rows:
        found[row["graph"]].append(row)
    lines = ["| graph | processes | died | calls | ms a call |", "|---|---|---|---|---|"]
    for name, group in found.items():
        calls = sum(row["calls"] for row in group)
        duration_s = sum(row["duration_s"] for row in group)
        died = sum(row["returncode"] < 0 for row in group)
        each = f"{1e3 * duration_s / calls:.2f}" if calls else "-"
        lines.append(f"| {name} | {len(group)} | {died} | {calls:,} | {each} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=8, help="of each graph")
    parser.add_argument("--seconds", type=float, default=20.0, help="longest of a process")
    parser.add_argument("--graph", choices=list(GRAPHS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.graph:
        call_for(options.graph, options.seconds)
        return 0
    RESULTS.mkdir(parents=True, exist_ok=True)
    stored = RESULTS / "launch_race.jsonl"
    cases = [
        (f"{name}/{number}", (name, options.seconds))
        for number in range(options.processes)
        for name in GRAPHS
    ]
    run_study(stored, cases, run_process)
    table = render_table(load_rows(stored))
    (RESULTS / "table.md").write_text(table, encoding="utf-8")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
