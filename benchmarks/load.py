"""Seconds, processor time and peak memory of the commands on long records, one line each.

1. `plot`, `compare RUN RUN` and every export of a run of two contenders of 1,000,000 steps each;
2. `history` over 1,000 runs, that no history has read before and once more;
3. the import of 50,000 small pictures, beside the rate at which Pillow decodes and encodes them in
   a process for each core. Pillow is timed before and after the import, since other work on the
   machine takes as much from one as from the other.

    python benchmarks/load.py --run results/example

The records are made from a stored run of `bench compare`, in a temporary folder of 1 GB. The table
is stored as `load.json` in the folder of `--out`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Dict, List

from PIL import Image

from oneflow_bench.bench.record.events import BlockEvent
from oneflow_bench.bench.record.machine import describe_machine
from oneflow_bench.bench.record.run import RecordWriter, RunRecord, load_record, write_atomically
from oneflow_bench.bench.report.export import FOLDER_FORMATS, TEXT_FORMATS

FORMATS = [*TEXT_FORMATS, *FOLDER_FORMATS]
BLOCK_STEPS = 50
SIDE = 48  # pixels of a picture


def make_long_run(run: RunRecord, steps: int, folder: Path) -> Path:
    """The run with training blocks of so many steps, made up; the rest as it is."""
    source = random.Random(0)
    writer = RecordWriter(folder, run.document)
    template = run.of_kind(BlockEvent)[0]
    for name in run.contender_names():
        for block in range(steps // BLOCK_STEPS):
            first = block * BLOCK_STEPS
            fields = {
                "contender": name,
                "epoch": first * run.document.workload.epochs // steps,
                "block": block,
                "kind": "steady" if block else "first",
                "first_step": first,
                "steps": BLOCK_STEPS,
                "duration_s": BLOCK_STEPS * 1e-3 * source.uniform(0.95, 1.05),
                "started_s": first * 2e-3,
                "losses": [
                    2.0 + 1e-6 * source.random() for _ in range(BLOCK_STEPS)
                ],  # parity holds
                "lr": [0.01] * BLOCK_STEPS,
            }
            writer.append(template.model_copy(update=fields))
    writer.append(*(event for event in run.events if not isinstance(event, BlockEvent)))
    writer.close()
    return folder


def make_history(run: RunRecord, count: int, folder: Path) -> Path:
    """Copies of the run, an hour apart, whose training differs by 1 %."""
    source = random.Random(0)
    for number in range(count):
        created = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(hours=number)
        update = {"run_id": f"run-{number:05d}", "created": created.isoformat()}
        writer = RecordWriter(folder / update["run_id"], run.document.model_copy(update=update))
        factor = source.gauss(1, 0.01)
        for event in run.events:
            if isinstance(event, BlockEvent):
                event = event.model_copy(update={"duration_s": event.duration_s * factor})
            writer.append(event)
        writer.close()
    return folder


def make_pictures(count: int, folder: Path) -> Path:
    """JPEGs of noise in ten classes."""
    source = random.Random(0)
    for number in range(count):
        split = "val" if number % 10 == 0 else "train"
        target = folder / split / f"class-{number // 10 % 10}" / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("RGB", (SIDE, SIDE), source.randbytes(3 * SIDE**2)).save(target)
    return folder


def measure(costs: Dict[str, Any], name: str, *words: Any) -> float:
    """Run the command, print its cost and add it to `costs`; the seconds that it took.

    Ends the study if the command fails.
    """
    command = [sys.executable, "-m", "oneflow_bench", *map(str, words)]
    start = time.perf_counter()
    with open(os.devnull, "w") as nothing:
        child = os.posix_spawn(
            sys.executable,
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, nothing.fileno(), 1)],
        )
        _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - start
    if os.WIFSIGNALED(status) or os.WEXITSTATUS(status):
        raise SystemExit(f"{name} ended with {status}")
    cpu_s, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    costs[name] = {
        "cpu_s": round(cpu_s, 2),
        "elapsed_s": round(seconds, 2),
        "peak_mib": round(peak, 1),
    }
    print(f"| {name} | {cpu_s:.1f} s | {seconds:.1f} s | {peak:.0f} MiB |", flush=True)
    return seconds


def encode(paths: List[Path]) -> None:
    """Decode and encode pictures with Pillow."""
    for path in paths:
        with Image.open(path) as image:
            image.convert("RGB").save(io.BytesIO(), "JPEG", quality=95)


def measure_import(costs: Dict[str, Any], count: int, folder: Path) -> Dict[str, float]:
    """The import's pictures a second, with its start, over those of Pillow on all cores."""
    pictures = make_pictures(count, folder / "pictures")
    paths: List[Path] = sorted(pictures.glob("*/*/*.jpg"))[: max(1, count // 5)]
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores) as pool:

        def time_pillow() -> float:
            start = time.perf_counter()
            list(pool.map(encode, (paths[first :: 10 * cores] for first in range(10 * cores))))
            return time.perf_counter() - start

        before = time_pillow()
        words = ["data", "import", "imagefolder", pictures, "--out", folder / "imported"]
        rate = count / measure(costs, f"import of {count} pictures", *words)
        pillow = 2 * len(paths) / (before + time_pillow())
    print(f"\nimport: {rate:.0f} pictures/s, {rate / pillow * 100:.0f} % of Pillow on all cores")
    return {"pictures_per_s": round(rate, 1), "share_of_pillow": round(rate / pillow, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="a stored run of bench compare")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--out", type=Path, default=Path("results/reliability"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    run = load_record(options.run)
    costs: Dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(
            "| command | processor time | elapsed | peak memory |\n|---|---:|---:|---:|", flush=True
        )
        long = make_long_run(run, options.steps, folder / "long")
        measure(costs, "plot", "plot", long, "--out", folder / "plots")
        measure(costs, "compare RUN RUN", "compare", long, long)
        for kind in FORMATS:
            words = ["export", long, "--format", kind, "--out", folder / f"export-{kind}"]
            measure(costs, f"export {kind}", *words)
        sizes = {path.name: path.stat().st_size for path in (folder / "plots").glob("*.svg")}
        history = make_history(run, options.runs, folder / "runs")
        os.environ["BENCH_CACHE_DIR"] = str(folder / "cache")
        for turn in ("first", "again"):
            measure(costs, f"history of {options.runs} runs, {turn}", "history", history)
        rates = measure_import(costs, options.pictures, folder)
    largest = max(sizes.values()) / 2**20
    print(f"largest SVG: {largest:.1f} MiB")
    stored = {
        "machine": describe_machine(),
        "steps": options.steps,
        "commands": costs,
        "import": rates,
        "largest_svg_mib": round(largest, 2),
    }
    write_atomically(options.out / "load.json", json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
