"""All cores: stock, tuned, a preloaded BLAS, two ranks, and PyTorch, in turns in five models.

    python benchmarks/blas_study.py --blas openblas --torch-python /path/to/environment/bin/python
    python benchmarks/blas_study.py report                   # the tables of what is stored

A row is one model in one mode. A process of each way is alive, and they take turns in randomised
ABBA order, so load on the machine meets all ways alike. The ratios have 95 % intervals over double
pairs of one process each, and carry no verdict. Each OneFlow process trains 50 steps from the same
weights first, and their losses are compared. A row is stored as it ends (rows.jsonl), and a second
call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from runtime_study import LR, MODELS, STEPS, TIMEOUT_S
from runtime_study_report import PERTURBED
from study import Row, append_row, load_rows, open_study, print_table, run_main

from oneflow_bench.bench.config import Contender, Workload, workload_of
from oneflow_bench.bench.distributed.starting import create_launcher
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.measure.order import generate_orders
from oneflow_bench.bench.plan.contenders import parse_contenders, read_blas
from oneflow_bench.bench.plan.lr_schedule import base_learning_rate
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.record.machine import describe_load
from oneflow_bench.bench.tools.profile.run import WORKER_FILE, check_torch_python
from oneflow_bench.bench.tools.profile.steps import LOSS_BATCHES, MODELS_FOLDER
from oneflow_bench.bench.tools.tune.parity import measure_loss_difference
from oneflow_bench.bench.verdict.statistics import Ratio, paired_log_ratio, summarize
from oneflow_bench.bench.worker.environment import RuntimeResolver
from oneflow_bench.bench.worker.messages import PrepareRequest, Worker
from oneflow_bench.bench.worker.process import WorkerProcess
from oneflow_bench.bench.worker.process import create_launcher as create_single_launcher

ROWS = "rows.jsonl"
WITNESSES = Path("results/runtime") / PERTURBED  # perturbed runs of the same workloads
SIZES = {"alexnet": 224, "vgg11_bn": 64}  # pixels; the others take 112
DATA_PARALLEL = {"eager": "ddp", "graph": "graph-dp"}
RANKS = 2
STOCK, TUNED = "stock", "tuned"
TORCH_THREADS = (1, 2)
BLOCK_S = 0.5
PROFILER = "oneflow_bench.bench.tools.profile.worker"


class Way(NamedTuple):
    """One way to train: a contender of OneFlow, or PyTorch with so many threads."""

    name: str
    contender: Optional[Contender]
    threads: Optional[int] = None


def list_ways(mode: str, blases: Sequence[str], with_torch: bool) -> List[Way]:
    texts = [f"{mode},runtime=stock,name={STOCK}", f"{mode},name={TUNED}"]
    shared = f"{DATA_PARALLEL[mode]},ranks={RANKS}"
    texts += [f"{mode},blas={blas},name={label_blas(blas)}" for blas in blases]
    texts.append(f"{shared},name={RANKS}-ranks")
    texts += [f"{shared},blas={blas},name={RANKS}-ranks-{label_blas(blas)}" for blas in blases]
    ways = [Way(one.name, one) for one in parse_contenders(texts)]
    return ways + [Way(f"torch-{n}", None, n) for n in TORCH_THREADS if with_torch]


def label_blas(blas: str) -> str:
    return Path(blas).name.partition(".")[0]


def create_workload(model: str, batch_size: int) -> Workload:
    flags: Dict[str, Any] = {
        "model": model,
        "data": "synthetic",
        "image_size": SIZES.get(model, 112),
        "num_classes": 1000,
        "batch_size": batch_size,
        "steps_per_epoch": STEPS,
        "lr": LR,
        "readers": RANKS,
    }
    return create_plan(flags).workload


class Processes:
    """The processes of one row; `start` gives one that has compiled and trained."""

    def __init__(self, workload: Workload, folder: Path, torch_python: Optional[str]) -> None:
        self._workload, self._folder, self._torch = workload, folder, torch_python
        self._environments = RuntimeResolver()
        self._launch = create_launcher(folder, self._environments)
        self._started: List[Worker] = []
        self._inputs: Optional[Dict[str, Any]] = None  # weights and batches for PyTorch

    def start(self, way: Way) -> Tuple[Worker, Dict[str, Any]]:
        """The process, and its losses, its BLAS and its cores or threads."""
        if way.contender is None:
            return self._start_torch(way)
        worker = self._add(self._launch(way.contender))
        answer = worker.ask("setup", TIMEOUT_S, **self._request(way.contender))
        losses = worker.ask("train", TIMEOUT_S, steps=STEPS)["losses"]
        blas = answer["environment"].get("blas")
        return worker, {"losses": losses, "blas": blas, "rank_cores": answer.get("rank_cores")}

    def _request(self, contender: Contender) -> Dict[str, Any]:
        request = PrepareRequest(
            workload=workload_of(self._workload, contender),
            contender=contender,
            steps_per_epoch=STEPS,
        )
        return request.model_dump(mode="json")

    def _start_torch(self, way: Way) -> Tuple[Worker, Dict[str, Any]]:
        assert self._torch is not None
        variables = {**os.environ, "OMP_NUM_THREADS": str(way.threads)}
        log = self._folder / "logs" / f"{way.name}.log"
        worker = self._add(WorkerProcess(way.name, [self._torch, str(WORKER_FILE)], variables, log))
        answer = worker.ask("setup", TIMEOUT_S, **self._export())
        worker.ask("measure", TIMEOUT_S, steps=STEPS // 10, untimed_steps=0)
        return worker, {"threads": answer["threads"], "torch": answer["torch"]}

    def _export(self) -> Dict[str, Any]:
        """The setup of a PyTorch process, with weights and batches of an eager one of OneFlow."""
        if self._inputs is None:
            weights, inputs = (str(self._folder / f"{name}.npz") for name in ("weights", "inputs"))
            contender = Contender(name="export", mode="eager")
            launch = create_single_launcher(self._folder, self._environments, PROFILER)
            worker = self._add(launch(contender))
            worker.ask("prepare", TIMEOUT_S, **self._request(contender))
            places = {"weights": weights, "inputs": inputs}
            answer = worker.ask("export", TIMEOUT_S, **places, batches=LOSS_BATCHES)
            worker.kill()
            self._inputs = {
                **places,
                "aux_weights": answer["aux_weights"],
                "workload": self._workload.model_dump(mode="json"),
                "lr": base_learning_rate(self._workload),
                "models_folder": str(MODELS_FOLDER),
                "disable_dropout": False,
            }
        return self._inputs

    def _add(self, worker: Worker) -> Worker:
        self._started.append(worker)
        return worker

    def close(self) -> None:
        for worker in self._started:
            worker.kill()
            worker.close()


def measure(model: str, mode: str, options: argparse.Namespace) -> Row:
    """A row: losses and facts of each way, then the times of blocks in turns."""
    workload = create_workload(model, options.batch_size)
    ways = list_ways(mode, options.blas, options.torch_python is not None)
    with tempfile.TemporaryDirectory() as temporary:
        processes = Processes(workload, Path(temporary), options.torch_python)
        try:
            started = {way.name: processes.start(way) for way in ways}
            workers = {name: worker for name, (worker, _) in started.items()}
            times = take_turns(workers, options.blocks, workload.seed)
        finally:
            processes.close()
    size = {"batch_size": workload.batch_size, "image_size": workload.image_size}
    facts = {name: about for name, (_, about) in started.items()}
    return {"model": model, "mode": mode, **size, **describe_load(), "ways": facts, **times}


def take_turns(workers: Dict[str, Worker], blocks: int, seed: int) -> Dict[str, Any]:
    """Seconds of a step, and of processor time where it is told, by way and block."""
    steps = {}
    for name, worker in workers.items():
        single_s = worker.ask("measure", TIMEOUT_S, steps=1, untimed_steps=1)["duration_s"]
        steps[name] = max(1, round(BLOCK_S / max(single_s, 1e-6)))
    step_s: Dict[str, List[float]] = {name: [] for name in workers}
    cpu_s: Dict[str, List[Optional[float]]] = {name: [] for name in workers}
    orders = generate_orders(list(workers), seed)
    for _ in range(blocks):
        for name in next(orders):
            answer = workers[name].ask("measure", TIMEOUT_S, steps=steps[name], untimed_steps=1)
            used_s = answer.get("cpu_s")
            step_s[name].append(answer["duration_s"] / steps[name])
            cpu_s[name].append(None if used_s is None else used_s / steps[name])
    return {"block_steps": steps, "step_time_s": step_s, "cpu_s": cpu_s}


def find_ratio(row: Row, base: str, name: str) -> Optional[Ratio]:
    """The time of `base` over that of another way."""
    times = row["step_time_s"]
    return paired_log_ratio(times[base], times[name]) if name in times else None


def render(rows: Sequence[Row], perturbed: Sequence[Row]) -> str:
    """Step times and ratios to tuned, the distance to PyTorch, and the losses."""
    names = list(dict.fromkeys(name for row in rows for name in row["step_time_s"]))
    others = [name for name in names if name != TUNED]
    lines = [
        "Step time of *tuned*, the default runtime, and its ratio to that of each other way:",
        "",
        f"| model, batch, pixels | mode | tuned, ms | {' | '.join(others)} |",
        f"|---|---|---:|{'---:|' * len(others)}",
    ]
    for row in rows:
        shown = [_format(find_ratio(row, TUNED, name)) for name in others]
        step_ms = 1e3 * summarize(row["step_time_s"][TUNED]).median
        lines.append(f"| {_label(row)} | {row['mode']} | {step_ms:.0f} | {' | '.join(shown)} |")
    lines += ["", *_list_distances(rows), "", *_list_losses(rows, perturbed)]
    return "\n".join(lines) + "\n"


def _list_distances(rows: Sequence[Row]) -> List[str]:
    """The fastest way of OneFlow beside PyTorch on as many cores."""
    lines = [
        f"The fastest way of OneFlow over PyTorch with {TORCH_THREADS[-1]} threads:",
        "",
        "| model | mode | fastest | its time over PyTorch's |",
        "|---|---|---|---:|",
    ]
    torch = f"torch-{TORCH_THREADS[-1]}"
    for row in rows:
        times = {k: summarize(t).median for k, t in row["step_time_s"].items() if "torch" not in k}
        best = min(times, key=times.__getitem__)
        ratio = _format(find_ratio(row, best, torch))
        lines.append(f"| {row['model']} | {row['mode']} | {best} | {ratio} |")
    return lines


def _list_losses(rows: Sequence[Row], perturbed: Sequence[Row]) -> List[str]:
    moved = {
        row["model"]: max(
            measure_loss_difference(row["stock"], one) or 0.0 for one in row["witnesses"]
        )
        for row in perturbed
    }
    names = [name for name, about in rows[0]["ways"].items() if "losses" in about]
    others = [name for name in names if name != STOCK]
    lines = [
        f"Largest relative difference to the losses of stock over {STEPS} steps, and that of stock "
        "from weights moved by one rounding:",
        "",
        f"| model | mode | {' | '.join(others)} | by a rounding |",
        f"|---|---|{'---:|' * (len(others) + 1)}",
    ]
    for row in rows:
        ours = row["ways"][STOCK]["losses"]
        found = [row["ways"].get(name, {}).get("losses") for name in others]
        apart = [None if one is None else measure_loss_difference(ours, one) for one in found]
        shown = ["-" if one is None else f"{one:.1e}" for one in [*apart, moved.get(row["model"])]]
        lines.append(f"| {row['model']} | {row['mode']} | {' | '.join(shown)} |")
    return lines


def _label(row: Row) -> str:
    return f"{row['model']}, {row['batch_size']}, {row['image_size']}"


def _format(ratio: Optional[Ratio]) -> str:
    if ratio is None:
        return "-"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.ratio:.2f} (no interval)"
    return f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def run_study(options: argparse.Namespace) -> None:
    """Measure the rows that are missing, and store each as it ends."""
    if options.torch_python is not None:
        check_torch_python(options.torch_python)
    stored = options.out / ROWS
    done = {(row["model"], row["mode"]) for row in load_rows(stored)}
    wanted = [(m, mode) for m in options.model or MODELS for mode in options.mode or DATA_PARALLEL]
    missing = [one for one in wanted if one not in done]
    for number, (model, mode) in enumerate(missing, start=1):
        print(f"{number}/{len(missing)} {model} {mode}", file=sys.stderr)
        append_row(stored, measure(model, mode, options))


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["report"], help="only print what is stored")
    parser.add_argument("--out", type=Path, default=Path("results/runtime/blas"))
    parser.add_argument("--model", action="append", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--mode", action="append", choices=list(DATA_PARALLEL))
    parser.add_argument("--blas", action="append", default=[], help="repeatable")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--torch-python", help="an interpreter that has PyTorch")
    options = parser.parse_args(arguments)
    return run_main(lambda: measure_and_report(options))


def measure_and_report(options: argparse.Namespace) -> None:
    options.blas = [read_blas(one, f"--blas {one}") for one in options.blas]
    if options.what is None:
        if not options.blas:
            raise InputError("no BLAS was given; give --blas mkl, openblas or a path")
        open_study(options.out)
        run_study(options)
    perturbed = load_rows(WITNESSES)
    print_table(options.out / ROWS, lambda rows: render(rows, perturbed))


if __name__ == "__main__":
    sys.exit(main())
