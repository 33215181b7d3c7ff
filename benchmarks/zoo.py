"""Every model of the registry, eagerly and as a graph: equal or not, by how much, what it costs.

Runs `bench compare --model M --data synthetic` at a small image size for a few steps, one model
after the other, and prints a table.

    python benchmarks/zoo.py --out results/zoo [--models 'resnet*']

Each model's row is stored as it ends (rows.jsonl); a second call goes on where the first stopped. A
model whose run fails has a row that says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

from oneflow_bench.bench.record.events import BlockEvent
from oneflow_bench.bench.record.machine import describe_machine
from oneflow_bench.bench.record.run import RunRecord, load_record, write_atomically
from oneflow_bench.bench.report.comparison import compare_contenders
from oneflow_bench.models import get_model_spec, list_models

STEPS, BATCH_SIZE, CLASSES, BLOCK_STEPS = 21, 4, 10, 2
IMAGE_SIZES = {"imagenet": 64, "cifar": 32}
LR = "0.001"  # untrained deep models without warm-up do not diverge at this rate
TIMEOUT_S = "300"


def command_of(model: str, image_size: int, out: Path) -> List[str]:
    return [
        "compare", "--model", model, "--data", "synthetic", "--image-size", str(image_size),
        "--steps-per-epoch", str(STEPS), "--epochs", "1", "--batch-size", str(BATCH_SIZE),
        "--num-classes", str(CLASSES), "--block-steps", str(BLOCK_STEPS), "--lr", LR,
        "--timeout", TIMEOUT_S, "--no-speed", "--out", str(out),
    ]  # fmt: skip


def run_model(model: str) -> Dict[str, Any]:
    """One row. Sizes are the larger of the stem's small size and the model's smallest."""
    spec = get_model_spec(model)
    image_size = max(IMAGE_SIZES[spec.stem], spec.min_image_size)
    row: Dict[str, Any] = {"model": model, "image_size": image_size}
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "run"
        done = subprocess.run(
            [sys.executable, "-m", "oneflow_bench", *command_of(model, image_size, out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        row["exit_status"] = done.returncode
        if done.returncode not in (0, 1, 3):
            return {**row, "error": done.stderr.strip().splitlines()[:1]}
        return {**row, **describe(load_record(out))}


def describe(record: RunRecord) -> Dict[str, Any]:
    found = compare_contenders(record, "eager", record, "graph")
    speedup, parameters = found.speedup, found.parameter_difference[-1]
    return {
        "parity": found.parity,
        "first_different_step": first_difference(record),
        "max_abs_loss": found.loss.max_abs if found.loss else None,
        "first_loss": found.baseline.first_loss,
        "parameters_max_abs": parameters.max_abs,
        "parameters_relative_l2": parameters.relative_l2,
        "largest_in": parameters.largest_in,
        "speedup": speedup.ratio if speedup else None,
        "speedup_low": speedup.low if speedup else None,
        "speedup_high": speedup.high if speedup else None,
        "compile_s": found.contender.compile_train_s,
        "graph_peak_rss_bytes": found.contender.peak_rss_bytes,
        "eager_peak_rss_bytes": found.baseline.peak_rss_bytes,
    }


def first_difference(record: RunRecord) -> Any:
    """The first step (from 1) whose losses differ in a bit; None where none does."""
    sides = [
        [loss for block in record.of_kind(BlockEvent, name) for loss in block.losses]
        for name in ("eager", "graph")
    ]
    differing = (step for step, (a, b) in enumerate(zip(*sides), start=1) if a != b)
    return next(differing, None)


def render(rows: List[Dict[str, Any]]) -> str:
    lines = [
        "| model | px | losses | from step | largest loss difference | weights after, relative "
        "| speedup (95 %) | compile, s |",
        "|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['model']} | {row['image_size']} | failed: {row['error']} |||||| ")
            continue
        low, high = row["speedup_low"], row["speedup_high"]
        interval = "" if low is None else f" ({low:.2f} to {high:.2f})"
        lines.append(
            f"| {row['model']} | {row['image_size']} | {row['parity']} "
            f"| {row['first_different_step'] or '-'} | {show(row['max_abs_loss'])} "
            f"| {show(row['parameters_relative_l2'])} | {row['speedup']:.2f}{interval} "
            f"| {row['compile_s']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def show(value: Any) -> str:
    return "not finite" if value is None else "0" if value == 0 else f"{value:.1e}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/zoo"))
    parser.add_argument("--models", default="*", help="wildcard pattern")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    stored = options.out / "rows.jsonl"
    rows = [json.loads(line) for line in stored.read_text().splitlines()] if stored.exists() else []
    known = {row["model"] for row in rows}
    wanted = [model for model in list_models(options.models) if model not in known]
    for number, model in enumerate(wanted, start=1):
        print(f"{number}/{len(wanted)} {model}", flush=True)
        rows.append(run_model(model))
        with stored.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    order = {model: number for number, model in enumerate(list_models())}
    rows.sort(key=lambda row: order.get(row["model"], len(order)))
    table = render(rows)
    write_atomically(options.out / "table.md", table)
    write_atomically(options.out / "machine.json", json.dumps(describe_machine(), indent=1) + "\n")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
