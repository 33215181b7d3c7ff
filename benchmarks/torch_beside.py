"""OneFlow in the runtime that was searched, beside PyTorch: the models of `runtime_study.py`.

    python benchmarks/torch_beside.py --torch-python /path/to/environment/bin/python
    python benchmarks/torch_beside.py report                 # the table of what is stored

Runs `bench profile --limits --torch-python` for each model whose search is stored, at its batch and
image size and with its runtime profile: the same architecture, weights and batches in OneFlow's two
modes and in PyTorch, eager and compiled, in turns. A row is stored as it ends (torch.jsonl), and a
second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from runtime_study_report import load_searches
from study import append_row, load_rows, run_main

from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.record.run import write_atomically
from oneflow_bench.bench.tools.profile.document import PROFILE_NAME, LimitsDocument, load_limits
from oneflow_bench.bench.tools.tune.candidates import BOTH
from oneflow_bench.bench.tools.tune.report import TuneDocument, create_profile
from oneflow_bench.bench.verdict.statistics import Ratio, summarize
from oneflow_bench.bench.worker.environment import STOCK
from oneflow_bench.bench.worker.runtime_profile import save_runtime_profile

ROWS = "torch.jsonl"
TORCH = ("torch eager", "torch compiled")
Run = Callable[[List[str]], int]


def run_limits(arguments: List[str]) -> int:
    """The exit status of `bench profile --limits`, whose output is shown as it comes."""
    command = [sys.executable, "-m", "oneflow_bench", "profile", "--limits", *arguments]
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode


def measure(
    search: TuneDocument, torch_python: str, blocks: int, run: Run = run_limits
) -> Dict[str, Any]:
    """A row; raises WorkerError where nothing could be measured."""
    workload = search.workload
    with tempfile.TemporaryDirectory() as temporary:
        profile, out = Path(temporary) / "runtime.json", Path(temporary) / "limits"
        save_runtime_profile(profile, create_profile(search, None))
        flags: Dict[str, Any] = {
            "--model": workload.model,
            "--batch-size": workload.batch_size,
            "--image-size": workload.image_size,
            "--num-classes": workload.num_classes,
            "--runtime": profile,
            "--torch-python": torch_python,
            "--iterations": 1,  # of the profile of layers, which is not kept
            "--blocks": blocks,
            "--out": out,
        }
        status = run([str(part) for flag in flags.items() for part in flag])
        if not (out / PROFILE_NAME).exists():
            raise WorkerError(f"bench profile of {workload.model} ended with status {status}")
        return pack_row(load_limits(out))


def pack_row(document: LimitsDocument) -> Dict[str, Any]:
    """The row of a run: times of each contender, ratios, and how far the losses lie apart."""
    torch = next(s.environment for s in document.steps if s.name == TORCH[0])
    return {
        "created": document.created,
        "model": document.workload.model,
        "batch_size": document.workload.batch_size,
        "image_size": document.workload.image_size,
        "torch": torch.get("torch"),
        "torch_threads": torch.get("threads"),
        "step_time_s": {s.name: s.step_time_s for s in document.steps},
        "compile_s": {s.name: s.compile_s for s in document.steps},
        "errors": {s.name: s.error for s in document.steps if s.error},
        "ratios": [ratio.model_dump() for ratio in document.ratios],
        "loss_differences": {w.name: w.max_relative_difference for w in document.loss_runs},
    }


def render_table(rows: Sequence[Dict[str, Any]], searches: Dict[str, TuneDocument]) -> str:
    """Step times, and OneFlow's over PyTorch's of the same block order, with 95 % intervals."""
    lines = [
        "| model, batch, pixels | mode | step, ms | over PyTorch eager | over PyTorch compiled "
        "| settings |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in rows:
        chosen = {m.mode: m.chosen for m in searches[row["model"]].modes}
        what = f"{row['model']}, {row['batch_size']}, {row['image_size']}"
        for mode in BOTH:
            times = row["step_time_s"].get(mode)
            shown = f"{summarize(times).median * 1e3:.0f}" if times else "-"
            ratios = " | ".join(_find_ratio(row, mode, other) for other in TORCH)
            lines.append(f"| {what} | {mode} | {shown} | {ratios} | {chosen[mode] or STOCK} |")
    return "\n".join(lines) + "\n"


def _find_ratio(row: Dict[str, Any], mode: str, other: str) -> str:
    """OneFlow's time over PyTorch's, or why there is none."""
    for entry in row["ratios"]:
        if (entry["baseline"], entry["contender"]) == (mode, other):
            ratio = Ratio.model_validate(entry["ratio"])
            if ratio.low is None or ratio.high is None:
                return f"{ratio.ratio:.2f} (no interval)"
            return f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    return "failed" if other in row["errors"] else "-"


def measure_and_report(options: argparse.Namespace, run: Run) -> None:
    searches = load_searches(options.out)
    if options.what is None:
        done = {row["model"] for row in load_rows(options.out / ROWS)}
        missing = [model for model in searches if model not in done]
        for number, model in enumerate(missing, start=1):
            print(f"{number}/{len(missing)} {model}", file=sys.stderr)
            row = measure(searches[model], options.torch_python, options.blocks, run)
            append_row(options.out / ROWS, row)
    table = render_table(load_rows(options.out / ROWS), searches)
    write_atomically(options.out / "torch.md", table)
    print(table, end="")


def main(arguments: Optional[Sequence[str]] = None, run: Run = run_limits) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["report"], help="only print what is stored")
    parser.add_argument("--torch-python", help="an interpreter that has PyTorch")
    parser.add_argument("--out", type=Path, default=Path("results/runtime"))
    parser.add_argument("--blocks", type=int, default=12)
    options = parser.parse_args(arguments)
    if options.what is None and not options.torch_python:
        parser.error("give --torch-python, an interpreter that has PyTorch, or 'report'")
    return run_main(lambda: measure_and_report(options, run))


if __name__ == "__main__":
    sys.exit(main())
