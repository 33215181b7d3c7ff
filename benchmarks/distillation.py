"""Does distillation work alike in both modes, and does it help? A small student on the digits.

Trains a teacher, then the same student without and with it, eagerly and as a graph in turns, and
prints accuracies, the largest loss difference between the modes, and whether the teacher changed.

    python benchmarks/distillation.py --out results/distillation

Runs that are complete are not repeated, so a second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

from oneflow_bench.bench.errors import RecordError
from oneflow_bench.bench.record.events import EndEvent, SetupEvent
from oneflow_bench.bench.record.run import RunRecord, load_record, write_atomically
from oneflow_bench.bench.report.comparison import compare_contenders, summarize_contender
from oneflow_bench.bench.report.pictures import render_pictures

TEACHER = ["eager", "--model", "alexnet_cifar", "--epochs", "5"]
STUDENT = ["compare", "--model", "lenet", "--epochs", "8", "--lr", "0.02", "--lr-step", "5",
           "--no-speed"]  # fmt: skip
TEMPERATURE, ALPHA = 6, 0.9
ALLOWED_LOSS_POINTS = 1.0


def run(name: str, arguments: List[str], out: Path) -> RunRecord:
    """The stored run of that name, made now where it is not there yet."""
    folder = out / name
    try:
        record = load_record(folder)
        if record.document.status == "complete":
            return record
        raise SystemExit(f"{folder} holds a run that did not complete; remove it")
    except RecordError:
        print(f"{name}: bench {' '.join(arguments)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "oneflow_bench", *arguments, "--out", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    if done.returncode not in (0, 3):
        raise SystemExit(f"bench ended with {done.returncode}")
    return load_record(folder)


def describe(record: RunRecord) -> Dict[str, str]:
    """One row of the table."""
    found = compare_contenders(record, "eager", record, "graph")
    digests = {
        event.teacher_digest
        for event in record.events
        if isinstance(event, (SetupEvent, EndEvent)) and event.teacher_digest
    }
    assert found.loss is not None
    return {
        "eager, %": f"{100 * found.baseline.accuracy[-1]:.2f}",
        "graph, %": f"{100 * found.contender.accuracy[-1]:.2f}",
        "largest loss difference": f"{found.loss.max_abs:.2e}",
        "parity": found.parity,
        "teacher": {0: "none", 1: "unchanged"}.get(len(digests), "CHANGED"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/distillation"))
    out = parser.parse_args().out
    teacher = run("teacher", TEACHER, out)
    distilled = [
        *STUDENT, "--loss", "distillation", "--alpha", str(ALPHA), "--temperature",
        str(TEMPERATURE), "--teacher", "alexnet_cifar", "--teacher-checkpoint",
        str(out / "teacher"),
    ]  # fmt: skip
    records = {
        "student": run("student", STUDENT, out),
        "student-with-teacher": run("student-with-teacher", distilled, out),
    }
    rows = {name: describe(record) for name, record in records.items()}
    columns = list(rows["student"])
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    lines += [f"| {name} | {' | '.join(row.values())} |" for name, row in rows.items()]
    accuracy = 100 * final_accuracy(teacher)
    lines += ["", f"Teacher: alexnet_cifar, {accuracy:.2f} %. Student: lenet, 8 epochs."]
    gains = [
        float(rows["student-with-teacher"][column]) - float(rows["student"][column])
        for column in ("eager, %", "graph, %")
    ]
    lines.append(f"With the teacher: {gains[0]:+.2f} points eager, {gains[1]:+.2f} graph.")
    text = "\n".join(lines) + "\n"
    print(text)
    write_atomically(out / "table.md", text)
    render_pictures(list(records.values()), out)
    return 0 if min(gains) >= -ALLOWED_LOSS_POINTS else 1


def final_accuracy(record: RunRecord) -> float:
    """Final validation accuracy of a run of one mode."""
    return summarize_contender(record, record.contender_names()[0]).accuracy[-1]


if __name__ == "__main__":
    sys.exit(main())
