"""All cores: stock, tuned, a preloaded BLAS, two ranks, and PyTorch, in turns in five models.

    python benchmarks/blas_study.py --blas openblas --torch-python /path/to/environment/bin/python
    python benchmarks/blas_study.py report                   # the tables of what is stored

A row is one model in one mode. A process of each way is alive, and they take turns in randomised
ABBA order, so load on the machine meets all ways alike. The ratios have 95 % intervals over double
pairs of one process each, and carry no verdict. Each OneFlow process trains 50 steps from the same
weights first, and their losses are compared. A row is stored as it ends (rows.jsonl), and a second
call goes on where the first stopped.

The processor time of a process's busiest thread is kept too, which moves little with other load. On
an idle machine a step takes at least about as long.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from blas_study_report import STOCK, TORCH_THREADS, TUNED, render
from runtime_study import LR, MODELS, STEPS, TIMEOUT_S
from runtime_study_report import PERTURBED
from study import Row, append_row, load_rows, open_study, print_table, run_main

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.distributed.starting import create_launcher
from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.measure.order import generate_orders
from oneflow_bench.bench.plan.contenders import parse_contenders, workload_of
from oneflow_bench.bench.plan.lr_schedule import base_learning_rate
from oneflow_bench.bench.plan.plan import create_plan
from oneflow_bench.bench.record.machine import describe_load
from oneflow_bench.bench.tools.profile.run import WORKER_FILE, check_torch_python
from oneflow_bench.bench.tools.profile.steps import LOSS_BATCHES, MODELS_FOLDER
from oneflow_bench.bench.worker.environment import RuntimeResolver
from oneflow_bench.bench.worker.messages import PrepareRequest, Worker
from oneflow_bench.bench.worker.process import WorkerProcess
from oneflow_bench.bench.worker.process import create_launcher as create_single_launcher

ROWS = "rows.jsonl"
WITNESSES = Path("results/runtime") / PERTURBED  # perturbed runs of the same workloads
SIZES = {"alexnet": 224, "vgg11_bn": 64}  # pixels; the others take 112
DATA_PARALLEL = {"eager": "ddp", "graph": "graph-dp"}
RANKS = 2
BLOCK_S = 0.5
WARMUP_STEPS = 5  # of PyTorch
PROFILER = "oneflow_bench.bench.tools.profile.worker"


class Way(NamedTuple):
    """One way to train: a contender of OneFlow, or PyTorch with so many threads."""

    name: str
    contender: Optional[Contender]
    threads: Optional[int] = None


def list_ways(mode: str, blases: Sequence[str], with_torch: bool) -> List[Way]:
    """A BLAS may be followed by more keys of a contender, such as mkl,env.KMP_BLOCKTIME=0."""
    texts = [f"{mode},runtime=stock,name={STOCK}", f"{mode},name={TUNED}"]
    shared = f"{DATA_PARALLEL[mode]},ranks={RANKS}"
    texts += [f"{mode},blas={blas},name={label_blas(blas)}" for blas in blases]
    texts.append(f"{shared},name={RANKS}-ranks")
    texts += [f"{shared},blas={blas},name={RANKS}-ranks-{label_blas(blas)}" for blas in blases]
    ways = [Way(one.name, one) for one in parse_contenders(texts)]
    return ways + [Way(f"torch-{n}", None, n) for n in TORCH_THREADS if with_torch]


def select_ways(ways: List[Way], names: Optional[Sequence[str]]) -> List[Way]:
    """Stock, tuned, and those of `names`; all without names. Raises InputError for another name."""
    known = [way.name for way in ways]
    for name in names or ():
        if name not in known:
            raise InputError(f"--way {name} is none of {', '.join(known)}; give one of these")
    return [way for way in ways if way.name in (STOCK, TUNED, *(names or known))]


def hide_folder(blas: Optional[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    """A BLAS as a worker tells it, without the folder, which is of this machine alone."""
    return blas and {**blas, "path": Path(blas["path"]).name}


def label_blas(blas: str) -> str:
    name, *more = blas.split(",")
    return "-".join(
        [Path(name).name.partition(".")[0], *(one.removeprefix("env.") for one in more)]
    )


def create_workload(model: str, batch_size: int) -> Workload:
    flags: Dict[str, Any] = {
        "model": model,
        "data": "synthetic",
        "batch_size": batch_size,
        "steps_per_epoch": STEPS,
        "lr": LR,
        "readers": RANKS,
    }
    if model in MODELS:  # another one has a size of its own
        flags.update(image_size=SIZES.get(model, 112), num_classes=1000)
    return create_plan(flags).workload


class Processes:
    """The processes of one row; `start` gives one that has compiled and trained."""

    def __init__(self, workload: Workload, folder: Path, options: argparse.Namespace) -> None:
        self._workload, self._folder = workload, folder
        self._torch, self._steps = options.torch_python, options.steps
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
        losses = worker.ask("train", TIMEOUT_S, steps=self._steps)["losses"]
        blas = answer["environment"].get("blas")
        return worker, {
            "losses": losses,
            "blas": hide_folder(blas),
            "rank_cores": answer.get("rank_cores"),
        }

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
        worker.ask("measure", TIMEOUT_S, steps=WARMUP_STEPS, untimed_steps=0)
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
    ways = select_ways(list_ways(mode, options.blas, options.torch_python is not None), options.way)
    with tempfile.TemporaryDirectory() as temporary:
        processes = Processes(workload, Path(temporary), options)
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
    thread_s: Dict[str, List[Optional[float]]] = {name: [] for name in workers}
    orders = generate_orders(list(workers), seed)
    for _ in range(blocks):
        for name in next(orders):
            worker, before = workers[name], read_thread_seconds(workers[name])
            answer = worker.ask("measure", TIMEOUT_S, steps=steps[name], untimed_steps=0)
            after = read_thread_seconds(worker)
            used = [seconds - before.get(thread, 0.0) for thread, seconds in after.items()]
            step_s[name].append(answer["duration_s"] / steps[name])
            thread_s[name].append(max(used) / steps[name] if used else None)
    return {"block_steps": steps, "step_time_s": step_s, "busiest_thread_s": thread_s}


def read_thread_seconds(worker: Worker) -> Dict[str, float]:
    """Processor seconds of each thread so far; empty for ranks, which are several processes."""
    if not isinstance(worker, WorkerProcess):
        return {}
    paths = Path(f"/proc/{worker.pid}/task").glob("*/schedstat")
    return {path.parent.name: int(path.read_text().split()[0]) * 1e-9 for path in paths}


def run_study(options: argparse.Namespace) -> None:
    """Measure the rows that are missing, and store each as it ends."""
    if options.torch_python is not None:
        check_torch_python(options.torch_python)
    stored = options.out / ROWS
    known = [] if options.again else load_rows(stored)
    done = {(row["model"], row["mode"]) for row in known}
    wanted = [(m, mode) for m in options.model or MODELS for mode in options.mode or DATA_PARALLEL]
    missing = [one for one in wanted if one not in done]
    for number, (model, mode) in enumerate(missing, start=1):
        print(f"{number}/{len(missing)} {model} {mode}", file=sys.stderr)
        append_row(stored, measure(model, mode, options))


def create_parser(about: str) -> argparse.ArgumentParser:
    """With the options of each study of a BLAS; `about` begins with its title."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["report"], help="only print what is stored")
    parser.add_argument("--out", type=Path, default=Path("results/runtime/blas"))
    parser.add_argument("--model", action="append", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--blas", action="append", default=[], help="repeatable")
    parser.add_argument("--batch-size", type=int, default=4)
    return parser


def measure_if_asked(
    options: argparse.Namespace, run: Callable[[argparse.Namespace], None]
) -> None:
    """Run a study unless only its report is wanted. Raises InputError without a BLAS."""
    if options.what is not None:
        return
    if not options.blas:
        raise InputError("no BLAS was given; give --blas mkl, openblas or a path")
    open_study(options.out)
    run(options)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = create_parser(__doc__)
    parser.add_argument("--mode", action="append", choices=list(DATA_PARALLEL))
    parser.add_argument(
        "--way", action="append", help="measure it beside stock and tuned; repeatable"
    )
    parser.add_argument("--again", action="store_true", help="measure stored rows once more")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the losses")
    parser.add_argument("--blocks", type=int, default=24, help="rounds of turns")
    parser.add_argument("--torch-python", help="an interpreter that has PyTorch")
    options = parser.parse_args(arguments)
    return run_main(lambda: measure_and_report(options))


def measure_and_report(options: argparse.Namespace) -> None:
    measure_if_asked(options, run_study)
    perturbed = load_rows(WITNESSES)
    print_table(options.out / ROWS, lambda rows: render(rows, perturbed))


if __name__ == "__main__":
    sys.exit(main())
