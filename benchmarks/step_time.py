"""Is the suite's step time the true one? AlexNet against a plain loop, and stock against tuned.

Prints, for eager and graph,

1. `suite / plain`: median step of a worker of the suite against a plain loop of the same steps in
   one process with a full synchronisation per block, paired and interleaved;
2. what stopping the clock at `loss.numpy()` would have claimed, in the same plain process;
3. `stock / tuned`: the suite's step under the two runtimes, paired and interleaved.

    python benchmarks/step_time.py --out results/step-time

Every block is stored as it ends (samples.jsonl); a second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any, Dict, List

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.measure.order import generate_orders
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.record.machine import describe_machine
from oneflow_bench.bench.record.run import write_atomically
from oneflow_bench.bench.verdict.statistics import paired_log_ratio, summarize
from oneflow_bench.bench.worker.environment import RuntimeResolver
from oneflow_bench.bench.worker.process import WorkerProcess, create_worker_command

TIMEOUT_S = 600.0
WARMUP_STEPS = 3
CLAIM = "clock stopped at loss.numpy()"
CLAIM_STEPS = 6
PLAIN_LOOP = Path(__file__).with_name("plain_loop.py")


def start(kind: str, mode: str, workload: Workload, log: Path) -> WorkerProcess:
    """A worker of the suite ("tuned" or "stock"), or the plain loop ("plain")."""
    runtime = "stock" if kind == "stock" else "tuned"
    contender = Contender(name=f"{mode}-{kind}", mode=mode, runtime=runtime)
    environment = RuntimeResolver().resolve(contender, sys.executable)
    command = create_worker_command(sys.executable)
    if kind == "plain":
        command = [sys.executable, str(PLAIN_LOOP)]
    worker = WorkerProcess(contender.name, command, environment, log / f"{contender.name}.log")
    worker.ask(
        "setup",
        TIMEOUT_S,
        workload=workload.model_dump(),
        contender=contender.model_dump(),
        steps_per_epoch=1000,
    )
    worker.ask("train", TIMEOUT_S, steps=WARMUP_STEPS)
    return worker


def measure(mode: str, kinds: List[str], workload: Workload, options: Any, samples: Path) -> None:
    """Blocks of all kinds in turns, appended to `samples`; done ones are not done again."""
    study = "-".join(kinds)
    done = sum(1 for s in load_samples(samples) if (s["mode"], s["study"]) == (mode, study))
    if done >= options.blocks * len(kinds):
        return
    workers = {kind: start(kind, mode, workload, options.out / "logs") for kind in kinds}
    try:
        orders = generate_orders(kinds, options.seed + done)
        for block in range(done // len(kinds), options.blocks):
            row: Dict[str, Dict[str, Any]] = {}
            for kind in next(orders):
                row[kind] = workers[kind].ask("train", TIMEOUT_S, steps=options.block_steps)
            with open(samples, "a", encoding="utf-8") as stream:
                for kind, answer in row.items():
                    sample = {
                        "mode": mode,
                        "study": study,
                        "kind": kind,
                        "block": block,
                        "step_time_s": answer["duration_s"] / options.block_steps,
                        "losses": answer["losses"],
                    }
                    stream.write(json.dumps(sample) + "\n")
            print(f"{mode} {study}: block {block + 1}/{options.blocks}", file=sys.stderr)
        if "plain" in workers:
            claim = workers["plain"].ask("time_to_loss", TIMEOUT_S, steps=CLAIM_STEPS)
            with open(samples, "a", encoding="utf-8") as stream:
                stream.write(json.dumps({"mode": mode, "study": CLAIM, **claim}) + "\n")
    finally:
        for worker in workers.values():
            worker.kill()
            worker.close()


def load_samples(path: Path) -> List[Dict[str, Any]]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def report(samples: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Medians, ratios with 95 % intervals and the claim of a clock stopped at `loss.numpy()`."""
    result: Dict[str, Any] = {}
    for mode in ("eager", "graph"):
        for left, right in (("tuned", "plain"), ("stock", "tuned")):
            study = f"{left}-{right}"
            mine = [s for s in samples if (s["mode"], s["study"]) == (mode, study)]
            if not mine:
                continue
            times = {
                kind: [s["step_time_s"] for s in mine if s["kind"] == kind]
                for kind in (left, right)
            }
            ratio = paired_log_ratio(times[left], times[right])
            row: Dict[str, Any] = {
                f"{kind}_step_time_s": summarize(values).median for kind, values in times.items()
            }
            row["ratio"] = [ratio.ratio, ratio.low, ratio.high]
            row["median_ratio"] = row[f"{left}_step_time_s"] / row[f"{right}_step_time_s"]
            if right == "plain":
                claims = [s for s in samples if (s["mode"], s["study"]) == (mode, CLAIM)]
                row["loss_numpy_step_time_s"] = statistics.median(c["step_time_s"] for c in claims)
            row["losses_equal"] = losses_equal(mine, left, right)
            result[f"{mode} {left}/{right}"] = row
    return result


def losses_equal(samples: List[Dict[str, Any]], left: str, right: str) -> float:
    """Largest relative difference of the losses of the two kinds, block by block."""
    by_block = {(s["kind"], s["block"]): s["losses"] for s in samples if s["kind"] in (left, right)}
    return max(
        abs(a - b) / abs(b)
        for (kind, block), losses in by_block.items()
        if kind == left
        for a, b in zip(losses, by_block[(right, block)])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/step-time"))
    parser.add_argument("--model", default="alexnet")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--block-steps", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="MODE:STUDY", help="one part, such as graph:tuned-plain")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    workload = create_plan(
        {
            "model": options.model,
            "data": "synthetic",
            "image_size": options.image_size,
            "batch_size": options.batch_size,
            "num_classes": 1000,
            "lr": 0.001,
        }
    ).workload
    samples = options.out / "samples.jsonl"
    for mode in ("eager", "graph"):
        for kinds in (["tuned", "plain"], ["stock", "tuned"]):
            if options.only in (None, f"{mode}:{'-'.join(kinds)}"):
                measure(mode, kinds, workload, options, samples)
    result = {"machine": describe_machine(), "results": report(load_samples(samples))}
    write_atomically(options.out / "summary.json", json.dumps(result, indent=1) + "\n")
    for name, row in result["results"].items():
        low, high = row["ratio"][1:]
        print(
            f"{name:22} ratio {row['ratio'][0]:.4f} (95 % {low:.4f} to {high:.4f}), "
            f"of medians {row['median_ratio']:.4f}, losses differ by {row['losses_equal']:.1e}"
        )
        for key, value in row.items():
            if key.endswith("_s"):
                print(f"    {key:28} {value * 1e3:9.1f} ms")


if __name__ == "__main__":
    main()
