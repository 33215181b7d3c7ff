"""Ten families of the published distillation files, each trained in both modes on the digits.

    python benchmarks/published_recipes.py

A family is the files of one student; the first has those without a teacher. The study writes one
small file of each family, with the keys that such files have. It trains the teacher of the family
first, and then the student, eagerly and as a graph in turns, for two epochs each. The images are
small and few, so the accuracies say that both modes train alike, and nothing about the models.

Each row is stored as it ends (results/published-recipes/rows.jsonl). A second call goes on where
the first stopped. table.md has a row for each family.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from study import Row, load_rows, open_study, run_main, run_study

from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.record.run import load_record, write_atomically
from oneflow_bench.bench.report.comparison import compare_contenders, summarize_contender

OUT = Path(__file__).resolve().parent.parent / "results" / "published-recipes"
RUNS = OUT / "runs"  # of the teachers, while the study runs
SIZES = {"alexnet": 32}  # px, as published; it takes no less
SIZE = 8  # of the others, in a sixteenth of the time
COMMON = {
    "subset_percent": 0.1, "augmentation": "yes", "batch_size": 16, "num_epochs": 2,
    "num_channels": 32, "save_summary_steps": 100, "num_workers": 4, "dataset": "cifar10",
}  # fmt: skip
DISTILLED = {"alpha": 0.95, "temperature": 20, "learning_rate": 0.1}
# of each family: its keys besides COMMON, and the flag of that code's program
FAMILIES: Dict[str, Any] = {
    "base": (
        {"model_version": "resnet18", "teacher": "none", "reg_temperature": 20, "reg_alpha": 0.1,
         "multiplier": 100.0, "dropout_rate": 0.5, "learning_rate": 0.1},
        "--regularization",
    ),
    "alexnet": ({"teacher": "alexnet", **DISTILLED, "alpha": 0.1, "learning_rate": 0.01}, ""),
    "cnn": (
        {"teacher": "resnet18", **DISTILLED, "learning_rate": 0.001, "dropout_rate": 0.5,
         "anchor_num": 10},
        "",
    ),
    "densenet121": ({"teacher": "shufflenet_v2", **DISTILLED, "alpha": 0.6}, ""),
    "googlenet": (
        {"teacher": "googlenet", **DISTILLED, "alpha": 0.4, "multiplier": 50.0,
         "dropout_rate": 0.5},
        "--self-training",
    ),
    "mobilenet_v2": ({"teacher": "resnet18", **DISTILLED, "anchor_num": 10}, ""),
    "resnet18": ({"teacher": "mobilenet_v2", **DISTILLED, "dropout_rate": 0.0}, ""),
    "resnet50": ({"teacher": "shufflenet_v2", **DISTILLED, "alpha": 0.6}, ""),
    "resnext29": ({"teacher": "mobilenet_v2", **DISTILLED, "alpha": 0.6}, ""),
    "shufflenet_v2": ({"teacher": "resnet18", **DISTILLED, "dropout_rate": 0.5}, ""),
}  # fmt: skip


def run_bench(command: str, recipe: Row, size: int, folder: Path, *flags: str) -> None:
    """`bench` with a file of that content. Raises WorkerError with its last line if it fails."""
    shutil.rmtree(folder, ignore_errors=True)  # what a stopped study left
    folder.parent.mkdir(parents=True, exist_ok=True)
    config = folder.with_suffix(".json")
    config.write_text(json.dumps(recipe))
    words = [command, "--config", config, "--image-size", size, "--out", folder, *flags]
    done = subprocess.run(
        [sys.executable, "-m", "oneflow_bench", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode not in (0, 1, 3):  # verdicts
        raise WorkerError((done.stderr.strip().splitlines() or ["no message"])[-1])


def train_teacher(name: str, size: int) -> Path:
    """The run of a teacher, made now unless another family has it."""
    folder = RUNS / f"teacher-{name}-{size}"
    if not (folder / "report.md").is_file():
        lr = 0.01 if name == "alexnet" else 0.1
        recipe = {"model_version": name, "teacher": "none", "learning_rate": lr, **COMMON}
        run_bench("eager", recipe, size, folder)
    return folder


def train_family(name: str) -> Row:
    keys, flag = FAMILIES[name]
    recipe = {"model_version": f"{name}_distill", **COMMON, **keys}
    size = SIZES.get(name, SIZE)
    flags, teacher = [flag] if flag else [], None
    if keys["teacher"] != "none":
        teacher = train_teacher(keys["teacher"], size)
        flags += ["--teacher-checkpoint", str(teacher)]
    folder = RUNS / name
    run_bench("compare", recipe, size, folder, "--no-speed", *flags)
    record = load_record(folder)
    found = compare_contenders(record, "eager", record, "graph")
    assert found.loss is not None
    shutil.rmtree(folder)
    return {
        "family": name,
        "student": record.document.workload.model,
        "teacher": record.document.workload.teacher or "none",
        "loss": record.document.workload.loss,
        "teacher_accuracy": read_accuracy(teacher),
        "accuracy": [found.baseline.accuracy[-1], found.contender.accuracy[-1]],
        "max_loss_difference": found.loss.max_abs,
        "verdict": found.parity,
        "reason": f"largest loss difference {found.loss.max_abs:.1e}",
    }


def read_accuracy(run: Optional[Path]) -> Optional[float]:
    """The final validation accuracy of a stored run."""
    if run is None:
        return None
    record = load_record(run)
    return summarize_contender(record, record.contender_names()[0]).accuracy[-1]


def write_table(rows: List[Row]) -> str:
    """Markdown of what is stored."""
    lines = [
        "| family | student | teacher | loss | teacher, % | eager, % | graph, % "
        "| largest loss difference | parity |",
        "|---|---|---|---|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['case']} | failed: {row['error']} ||||||||")
            continue
        percent = [
            "" if one is None else f"{100 * one:.1f}"
            for one in (row["teacher_accuracy"], *row["accuracy"])
        ]
        words = [row["family"], row["student"], row["teacher"], row["loss"], *percent]
        words += [f"{row['max_loss_difference']:.1e}", row["verdict"]]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def run() -> None:
    open_study(OUT)
    stored = OUT / "rows.jsonl"
    try:
        run_study(stored, [(name, (name,)) for name in FAMILIES], train_family)
        shutil.rmtree(RUNS, ignore_errors=True)
    finally:
        table = write_table(load_rows(stored))
        write_atomically(OUT / "table.md", table)
        print(table)


if __name__ == "__main__":
    sys.exit(run_main(run))
