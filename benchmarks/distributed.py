"""Several ranks on this machine: the same losses, faster or not, and what was calculated.

    python benchmarks/distributed.py                     # everything that is missing, for hours
    python benchmarks/distributed.py --only parity
    python benchmarks/distributed.py report              # tables and picture of what is stored

parity       every strategy on 2 ranks against one process in float32 and in float64, 20 steps
speed        data parallel ranks against one process of the same mode, with the speed verdict
weak         the same with the whole batch on each rank
all-reduce   all-reduces between 2 ranks, at several sizes
profile      a layer profile of one process, from which the step of 2 ranks is calculated

Runs `bench compare` and `bench profile`, and calculates as `calculate_scaling.py` does. Each result
is stored as it ends (rows.jsonl), and a second call goes on where the first stopped. A case that
failed has a row that says so. --retry runs it again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from all_reduce import measure_all_reduces
from calculate_scaling import Options, calculate
from distributed_report import ALL_REDUCE, ROWS, list_tables, load_rows, render_picture
from study import open_study, run_main

import oneflow_bench.bench.distributed  # noqa: F401  registers its judgement of ranks
from oneflow_bench.bench.errors import BenchError, Interrupted, WorkerError
from oneflow_bench.bench.record.run import load_record, write_atomically
from oneflow_bench.bench.report.before_after import compare_record
from oneflow_bench.bench.report.comparison import Comparison

RANKS = 2
STEPS = 20
STRATEGIES = {
    "ddp": "ddp",
    "eager-global": "eager-global",
    "graph-dp": "graph-dp",
    "graph-dp, accumulation": "graph-dp,accumulation_steps=2",
    "graph-tp": "graph-tp",
    "graph-pp": "graph-pp",
}
# model -> its flags: without dropout or norm, with batch norm, and the same without it
PARITY_MODELS = {
    "alexnet_cifar": ["--model", "alexnet_cifar", "--image-size", "32"],
    "lenet": ["--model", "lenet", "--image-size", "32"],  # has a pair of linear layers to split
    "resnet18": ["--model", "resnet18", "--image-size", "64"],
    "resnet18 without norm": ["--model", "normless:resnet18", "--image-size", "64"],
}
WEAK_MODELS = ("alexnet_cifar", "lenet")
SPEED_MODELS = ("alexnet_cifar", "lenet", "resnet18", "mobilenet_v2", "vgg11_bn", "alexnet")
SIZES = {"alexnet_cifar": "32", "lenet": "32"}  # others at 64 pixels, alexnet at 224
DATA_PARALLEL = {"eager": "ddp", "graph": "graph-dp"}
PARITY_BATCH_SIZE, SPEED_BATCH_SIZE = "16", "32"
LR = "0.001"  # untrained deep models without warm-up do not diverge at this rate
PARTS = ("parity", "all-reduce", "profile", "speed", "weak")
HERE = Path(__file__).resolve().parent  # where `normless` is found

Run = Callable[[Sequence[str]], str]


class Case(NamedTuple):
    """One result to be had."""

    part: str
    model: str = ""
    what: str = ""  # the strategy of a parity, the mode of a speed or profile

    @property
    def name(self) -> str:
        return "/".join(word for word in self if word)


def run_bench(arguments: Sequence[str]) -> str:
    """What the command printed. Raises WorkerError where it ends with another status than these:
    done, different, inconclusive."""
    done = subprocess.run(
        [sys.executable, "-m", "oneflow_bench", *arguments],
        cwd=HERE,
        capture_output=True,
        text=True,
    )
    if done.returncode == Interrupted.exit_status:
        raise KeyboardInterrupt
    if done.returncode not in (0, 1, 3):
        lines = done.stderr.strip().splitlines()
        said = next((line for line in lines if line.startswith("error:")), lines[-1:])
        raise WorkerError(f"bench {arguments[0]} ended with {done.returncode}: {said}")
    return done.stdout


def list_cases(parts: Sequence[str], models: Sequence[str]) -> List[Case]:
    """In the order in which they are run."""
    cases: Dict[str, List[Case]] = {
        "parity": [
            Case("parity", model, strategy) for model in PARITY_MODELS for strategy in STRATEGIES
        ],
        "all-reduce": [Case("all-reduce")],
        "profile": [Case("profile", model, mode) for model in models for mode in DATA_PARALLEL],
        "speed": [Case("speed", model, mode) for model in models for mode in DATA_PARALLEL],
        "weak": [
            Case("weak", model, mode)
            for model in models
            for mode in DATA_PARALLEL
            if model in WEAK_MODELS
        ],
    }
    return [case for part in PARTS if part in parts for case in cases[part]]


def run_case(case: Case, options: argparse.Namespace, run: Run) -> Dict[str, Any]:
    """The row of a case."""
    if case.part == "all-reduce":
        document = measure_all_reduces(RANKS)
        write_atomically(options.out / ALL_REDUCE, json.dumps(document, indent=1) + "\n")
        return {"samples": len(document["samples"])}
    if case.part == "profile":
        return profile(case, options, run)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "run"
        arguments = parity_of(case) if case.part == "parity" else speed_of(case, options)
        run([*arguments, "--out", str(out)])
        record = load_record(out)
        (comparison,) = compare_record(record)
    return describe(comparison)


def parity_of(case: Case) -> List[str]:
    return [
        "compare", *PARITY_MODELS[case.model], "--ranks", str(RANKS), "--no-speed",
        "--contender", STRATEGIES[case.what], "--data", "synthetic", "--num-classes", "10",
        "--batch-size", PARITY_BATCH_SIZE, "--epochs", "1", "--steps-per-epoch", str(STEPS),
        "--lr", LR,
    ]  # fmt: skip


def speed_of(case: Case, options: argparse.Namespace) -> List[str]:
    return [
        "compare", "--model", case.model, "--ranks", str(RANKS), "--baseline", case.what,
        "--contender", DATA_PARALLEL[case.what], "--data", "synthetic", "--num-classes", "10",
        "--image-size", size_of(case.model), "--batch-size", SPEED_BATCH_SIZE, "--epochs", "1",
        "--steps-per-epoch", "4", "--lr", LR, "--budget", str(options.budget),
        *(["--weak"] if case.part == "weak" else []),
    ]  # fmt: skip


def size_of(model: str) -> str:
    return SIZES.get(model, "224" if model == "alexnet" else "64")


def profile(case: Case, options: argparse.Namespace, run: Run) -> Dict[str, Any]:
    """Profile one process at the global batch; the folder is kept, the report predicts from it."""
    folder = options.out / "profiles" / f"{case.model}-{case.what}"
    shutil.rmtree(folder, ignore_errors=True)  # of a profile that was ended
    run([
        "profile", "--model", case.model, "--mode", case.what, "--batch-size", SPEED_BATCH_SIZE,
        "--image-size", size_of(case.model), "--num-classes", "10", "--out", str(folder),
    ])  # fmt: skip
    return {"profile": str(folder.relative_to(options.out))}


def describe(comparison: Comparison) -> Dict[str, Any]:
    """What a row keeps of a comparison."""
    assert comparison.ranks is not None
    ranks = comparison.ranks
    return {
        "parity": comparison.parity,
        "reason": comparison.parity_reason,
        "verdict": comparison.speed_verdict if comparison.speed else None,
        "replicates": comparison.speedup.count if comparison.speed and comparison.speedup else None,
        "ranks": ranks.model_dump(),
    }


def predict(out: Path, model: str, mode: str) -> Optional[float]:
    """The calculated step of 2 ranks in seconds; None where a part is missing.

    Strong scaling: the profile's batch is divided among the ranks.
    """
    folder, link = out / "profiles" / f"{model}-{mode}", out / ALL_REDUCE
    if not folder.exists() or not link.exists():
        return None
    strong = calculate(Options(folder, [RANKS], all_reduce=link)).predictions[0].strong
    return None if strong is None else strong.overlap.step_time_s


def run_study(options: argparse.Namespace, run: Run = run_bench) -> None:
    """Everything that is missing, stored as it ends."""
    stored = options.out / ROWS
    rows = load_rows(options.out)
    done = {name for name, row in rows.items() if not (options.retry and "error" in row)}
    cases = list_cases(options.only or PARTS, options.model or SPEED_MODELS)
    missing = [case for case in cases if case.name not in done]
    for number, case in enumerate(missing, start=1):
        print(f"{number}/{len(missing)} {case.name}", file=sys.stderr, flush=True)
        try:
            row = run_case(case, options, run)
        except BenchError as error:
            row = {"error": str(error)}
            print(f"    {error}", file=sys.stderr)
        rows[case.name] = row
        lines = [json.dumps({"case": name, **one}) + "\n" for name, one in rows.items()]
        write_atomically(stored, "".join(lines))


def write_report(out: Path) -> str:
    """The tables and the picture of what is stored."""
    rows = load_rows(out)
    if not rows:
        return f"nothing is stored in {out} yet; run the study without 'report' first\n"
    speeds = [name.split("/") for name in rows if name.startswith("speed/")]
    predicted = {f"{model}/{mode}": predict(out, model, mode) for _, model, mode in speeds}
    text = list_tables(rows, predicted)
    write_atomically(out / "table.md", text)
    render_picture(rows, predicted, out)
    return text


def parse_options(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["report"], help="only report what is stored")
    parser.add_argument("--out", type=Path, default=Path("results/distributed"))
    parser.add_argument("--only", action="append", choices=PARTS, help="default: all of them")
    parser.add_argument("--model", action="append", help=f"default: {' '.join(SPEED_MODELS)}")
    parser.add_argument("--budget", type=float, default=240.0, help="seconds of a speed verdict")
    parser.add_argument("--retry", action="store_true", help="run again what failed")
    options = parser.parse_args(arguments)
    options.out = options.out.resolve()
    return options


def measure_and_report(options: argparse.Namespace) -> None:
    if options.what is None:
        open_study(options.out)
        run_study(options)
    print(write_report(options.out), end="")


def main() -> int:
    options = parse_options()
    return run_main(lambda: measure_and_report(options))


if __name__ == "__main__":
    sys.exit(main())
