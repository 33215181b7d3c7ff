"""The training health of every model of the registry, in both modes.

    python benchmarks/zoo_health.py [--models 'resnet*']

Examines each model as `bench check --health` does, at a small image size. Each row is stored as it
ends (results/health/rows.jsonl). A second call goes on where the first stopped. table.md has a row
for each model. It also explains the first loss of efficientnet_b0, which depends on the number of
classes K: features of the squared length L and weights that are uniform within 1 / sqrt(K) give
logits with a standard deviation of sqrt(L / (3 K)).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List

import numpy as np
from study import Row, load_rows, open_study, run_main, run_study

from oneflow_bench.bench.errors import WorkerError
from oneflow_bench.bench.plan.check_plan import create_check_plans
from oneflow_bench.bench.record.run import write_atomically
from oneflow_bench.bench.tools.health.run import HEALTH_DEFAULTS, MODES, examine_model
from oneflow_bench.models import get_model_spec, list_models

OUT = Path(__file__).resolve().parent.parent / "results" / "health"
SIZE, BATCH_SIZE = 32, 4  # px, or the model's smallest
TIMEOUT_S = 3600.0
HEAD_CASES = [(10, 32, ""), (10, 128, ""), (1000, 32, ""), (10, 32, "normal 0.01")]
SEEDS = 3


def examine(model: str) -> Row:
    size = max(SIZE, get_model_spec(model).min_image_size)
    given = {**HEALTH_DEFAULTS, "image_size": size, "batch_size": BATCH_SIZE}
    (plan,) = create_check_plans([model], given)
    with tempfile.TemporaryDirectory() as folder:
        health = examine_model(plan, Path(folder), TIMEOUT_S, lambda message, done, total: None)
    first = [None if side.losses[0] is None else round(side.losses[0], 3) for side in health.modes]
    unhealthy = dict.fromkeys(one.aspect for one in health.findings if one.healthy is False)
    return {
        "model": model,
        "image_size": size,
        "first_loss": first,
        "values": {mode: [f.value for f in health.findings if f.mode == mode] for mode in MODES},
        "aspects": list(dict.fromkeys(one.aspect for one in health.findings)),
        "verdict": health.verdict,
        "reason": ", ".join(unhealthy) or "in all aspects",
    }


def examine_head(classes: int, size: int, head: str) -> Row:
    """The first losses of efficientnet_b0 with dropout, by seed; in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--head", json.dumps([classes, size, head])],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise WorkerError((done.stderr.strip().splitlines() or ["no message"])[-1])
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {"verdict": "measured", "reason": f"first losses {found['losses']}", **found}


def measure_head(classes: int, size: int, head: str) -> Row:
    import oneflow as flow
    from oneflow.nn import functional

    from oneflow_bench.models import create_model

    losses, spreads, lengths = [], [], []
    for seed in range(SEEDS):
        flow.manual_seed(seed)
        model = create_model("efficientnet_b0", num_classes=classes).train()
        if head:
            flow.nn.init.normal_(model.classifier[1].weight, 0.0, float(head.split()[-1]))
        random = np.random.RandomState(seed)
        images = random.standard_normal((BATCH_SIZE, 3, size, size)).astype(np.float32)
        labels = random.randint(0, classes, BATCH_SIZE).astype(np.int32)
        with flow.no_grad():
            features = flow.flatten(model.avgpool(model.features(flow.tensor(images))), 1)
            logits = model.classifier(features)
            loss = functional.cross_entropy(logits, flow.tensor(labels))
        losses.append(round(float(loss.numpy()), 2))
        spreads.append(float(logits.numpy().std()))
        lengths.append(float((features.numpy() ** 2).sum(axis=1).mean()))
    return {
        "classes": classes,
        "image_size": size,
        "head": head or "uniform within 1 / sqrt(classes), as published",
        "losses": losses,
        "logit_std": round(float(np.mean(spreads)), 2),
        "squared_length": round(float(np.mean(lengths))),
    }


def write_table(rows: List[Row]) -> str:
    """Markdown of what is stored: the models in the registry's order, and the heads."""
    models = {row["model"]: row for row in rows if "model" in row}
    order = [name for name in list_models() if name in models]
    aspects = models[order[0]]["aspects"] if order else []
    lines = [
        f"Eager / graph where they differ. Batch {BATCH_SIZE}, 10 classes.",
        "",
        f"| model | px | first loss | {' | '.join(aspects)} | verdict |",
        f"|---|---:|---:|{'---:|' * len(aspects)}---|",
    ]
    for name in order:
        row = models[name]
        pairs = [row["first_loss"], *zip(*row["values"].values())]
        cells = [" / ".join(dict.fromkeys(map(str, pair))) for pair in pairs]
        lines.append(f"| {name} | {row['image_size']} | {' | '.join(cells)} | {row['verdict']} |")
    lines += [f"| {row['case']} | failed: {row['error']} |" for row in rows if "error" in row]
    lines += [
        "",
        f"efficientnet_b0 in train mode, batch {BATCH_SIZE}, seeds 0 to {SEEDS - 1}.",
        "",
        "| classes | px | head | ln(classes) | first losses | logits, std | sqrt(L / (3 K)) |",
        "|---:|---:|---|---:|---|---:|---:|",
    ]
    for row in (row for row in rows if "head" in row):
        predicted = math.sqrt(row["squared_length"] / (3 * row["classes"]))
        lines.append(
            f"| {row['classes']} | {row['image_size']} | {row['head']} "
            f"| {math.log(row['classes']):.2f} | {', '.join(map(str, row['losses']))} "
            f"| {row['logit_std']} | {'' if 'normal' in row['head'] else f'{predicted:.2f}'} |"
        )
    return "\n".join(lines) + "\n"


def run(pattern: str) -> None:
    open_study(OUT)
    stored = OUT / "rows.jsonl"
    heads = [(f"head {' '.join(map(str, case))}".strip(), case) for case in HEAD_CASES]
    run_study(stored, heads, examine_head)
    # small models first: what is not reached is what costs most
    names = sorted(list_models(pattern), key=lambda name: get_model_spec(name).num_params)
    try:
        run_study(stored, [(name, (name,)) for name in names], examine)
    finally:
        table = write_table(load_rows(stored))
        write_atomically(OUT / "table.md", table)
        print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="*", help="wildcard pattern")
    parser.add_argument("--head", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.head:
        print(json.dumps(measure_head(*options.head)))
        return 0
    return run_main(lambda: run(options.models))


if __name__ == "__main__":
    sys.exit(main())
