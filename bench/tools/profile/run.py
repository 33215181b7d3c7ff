"""Runs a layer profile, and with `--limits` the measurements beside it, in worker processes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from ...config import Contender
from ...errors import InputError, WorkerError
from ...record.machine import describe_machine, read_cpu
from ...worker.foreign_python import create_python_command
from ...worker.process import WorkerProcess
from .document import LimitsDocument, LossRun, ProfileDocument
from .steps import Fleet, Participant, compare_losses, compare_steps, time_steps
from .work import COPY, MATMUL, Ceiling, LayerWork, sum_work

# fresh workers for the layers as graphs: small ones now and then end their process
# (`oneflow_compat.create_padding_operator` says why; here one would be timed too)
MAX_RESTARTS = 12
MAX_FAILURES = 2  # of one layer, after which it is left without times as a graph

MATMUL_SIZES = (1024, 2048)
MEMORY_BYTES = 256 * 2**20  # beyond the caches of today's processors
SMALLEST_BUFFER_BYTES = 64 * 2**10

WORKER_FILE = Path(__file__).resolve().parent / "torch_worker.py"
CHECK_TIMEOUT_S = 120.0  # the first import of PyTorch reads hundreds of megabytes
_TORCH_PROGRAM = """
import sys
for name in ("torch", "numpy"):
    try:
        __import__(name)
    except ImportError as error:
        sys.exit(f"missing {name} {error}")
print("both are there")
"""


class _Profiler:
    """The process that profiles; a fresh one if OneFlow ended it."""

    def __init__(self, fleet: Fleet, contender: Contender) -> None:
        self._fleet, self._contender = fleet, contender
        self._participant: Optional[Participant] = None

    def start(self, mode: str) -> Participant:
        self.close()
        self._participant = self._fleet.start_oneflow(self._contender, "profile", mode)
        return self._participant

    def close(self) -> None:
        if self._participant is not None:
            self._participant.close()
            self._participant = None


def run_profile(
    fleet: Fleet, contender: Contender, iterations: int, warmup: int, created: str
) -> Tuple[ProfileDocument, List[LayerWork]]:
    """The profile of the fleet's workload under one contender, and the work of its layers.

    Errors of the worker pass through.
    """
    workload, observe = fleet.workload, fleet.observe
    profiler = _Profiler(fleet, contender)
    try:
        worker = profiler.start("eager")
        environment = worker.environment
        observe("steps", 0, 0)
        parts = worker.ask("parts", iterations=iterations, warmup=warmup)
        observe("layers", 0, 0)
        found = worker.ask("layers", iterations=iterations)
        graph = None
        if contender.mode == "graph":
            worker = _measure_graphs(profiler, worker, found["layers"], fleet)
            worker.ask("end")
            worker = profiler.start("graph")
            graph = worker.ask("graph", iterations=iterations, warmup=warmup)
        worker.ask("end")
    finally:
        profiler.close()
    document = ProfileDocument(
        model=workload.model,
        mode=contender.mode,
        batch_size=workload.batch_size,
        image_size=workload.image_size,
        iterations=iterations,
        created=created,
        machine=describe_machine(),
        environment=environment,
        layers=found["layers"],
        parts=parts,
        profiled_step_s=found["profiled_step_s"],
        graph=graph,
    )
    return document, [LayerWork.model_validate(one) for one in found["work"]]


def _measure_graphs(
    profiler: _Profiler, worker: Participant, layers: List[Dict[str, Any]], fleet: Fleet
) -> Participant:
    """Add each layer's times as a graph; a layer that ends its worker twice stays without.

    Returns the worker that is alive at the end.
    """
    number = failures = restarts = 0
    while number < len(layers):
        fleet.observe("layers as graphs", number, len(layers))
        try:
            layers[number].update(worker.ask("layer_graph", number=number))
        except WorkerError:
            restarts += 1
            if restarts > MAX_RESTARTS:
                raise
            failures += 1
            worker = profiler.start("eager")
            worker.ask("layers", iterations=1)
            if failures < MAX_FAILURES:
                continue
        number += 1
        failures = 0
    return worker


def measure_limits(
    fleet: Fleet, work: List[LayerWork], blocks: int, loss_steps: int, created: str
) -> LimitsDocument:
    """Measure the ceilings, time the step in turns, and compare with PyTorch if the fleet has it.

    Errors of OneFlow's workers pass through.
    """
    machine = describe_machine()
    runtime, cores = fleet.contenders[0].runtime, read_cpu()["cores"]
    ceilings = measure_ceilings(fleet, runtime, cores, sum_work(work).bytes)
    start, dropout_layers = None, 0
    loss_runs: List[LossRun] = []
    # the weights of a large model are hundreds of megabytes, and are not needed afterwards
    with tempfile.TemporaryDirectory(prefix="bench-limits-") as scratch:
        if fleet.has_torch:
            weights, inputs = (str(Path(scratch) / f"{n}.npz") for n in ("weights", "inputs"))
            start, loss_runs, dropout_layers = compare_losses(fleet, loss_steps, weights, inputs)
        steps = time_steps(fleet, start, blocks)
    return LimitsDocument(
        created=created,
        workload=fleet.workload,
        runtime=runtime,
        machine=machine,
        cores=cores,
        layers=work,
        ceilings=ceilings,
        steps=steps,
        ratios=compare_steps(steps),
        loss_runs=loss_runs,
        dropout_layers=dropout_layers,
    )


def choose_buffers(step_bytes: int) -> List[int]:
    """Sizes of the buffers to copy in bytes: as large as memory's, and as the step if smaller.

    The tensors of a small model stay in the caches; memory is no limit to it.
    """
    own = max(SMALLEST_BUFFER_BYTES, step_bytes)
    return [MEMORY_BYTES] if own >= MEMORY_BYTES else [own, MEMORY_BYTES]


def measure_ceilings(fleet: Fleet, runtime: str, cores: int, step_bytes: int) -> List[Ceiling]:
    """Products by NumPy's BLAS and OneFlow's in `runtime`, and copies; worker errors pass through.

    On one core, then on all. NumPy's run in a process of its own without the runtime's variables:
    a kernel that is forced on OneFlow's BLAS would be forced on NumPy's too.
    """
    found: List[Ceiling] = []
    counts = sorted({1, cores})
    for number, threads in enumerate(counts):
        requests: Dict[str, Dict[str, Any]] = {
            "numpy": {"threads": threads, "buffer_bytes": choose_buffers(step_bytes)},
            "oneflow": {},
        }
        for library, request in requests.items():
            fleet.observe("ceilings", 2 * number + (library == "oneflow"), 2 * len(counts))
            contender = Contender(
                name=f"ceilings-{library}-{threads}",
                mode="eager",
                runtime=runtime if library == "oneflow" else "stock",
                env=limit_threads(threads),
            )
            worker = fleet.launch(contender)
            try:
                answer = worker.ask(
                    f"measure_{library}", fleet.timeout_s, sizes=MATMUL_SIZES, **request
                )
                worker.ask("end", fleet.timeout_s)
            finally:
                worker.close()
            found += [
                Ceiling(what=what, library=library, threads=threads, size=size, rates=rates)
                for what in (MATMUL, COPY)
                for size, rates in answer.get(what, [])
            ]
    return found


def limit_threads(threads: int) -> Dict[str, str]:
    """Variables that keep every BLAS to so many threads; set before it is loaded."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {name: str(threads) for name in names}


def check_torch_python(path: str) -> None:
    """Raise InputError if `path` is no interpreter that can import PyTorch and NumPy."""
    given = f"--torch-python {path or '(nothing)'}"
    remedy = "give the path of a Python interpreter that has PyTorch"
    if not path or not Path(path).exists():
        raise InputError(f"{given} does not exist; {remedy}")
    if not os.path.isfile(path) or not os.access(path, os.X_OK):
        raise InputError(f"{given} cannot be executed; {remedy}")
    try:
        done = subprocess.run(
            create_python_command(path, _TORCH_PROGRAM),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=CHECK_TIMEOUT_S,
        )
    except OSError as error:
        raise InputError(f"{given} cannot be started ({error.strerror}); {remedy}") from None
    except subprocess.TimeoutExpired:
        raise InputError(
            f"{given} did not import PyTorch within {CHECK_TIMEOUT_S:g} s; try `import torch` with "
            "it, or give another interpreter"
        ) from None
    if done.returncode == 0 and "both are there" in done.stdout:
        return
    said = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
    if said[-1].startswith("missing "):
        _, name, *reason = said[-1].split(" ")
        raise InputError(
            f"{given} has no {name} that can be imported ({' '.join(reason)}); install it there, "
            "or give the python of an environment that has it"
        )
    raise InputError(
        f"{given} does not run Python as expected (exit status {done.returncode}: "
        f"{said[-1][:200]}); {remedy}"
    )


def create_torch_launcher(python: str, folder: Path) -> Callable[[str], WorkerProcess]:
    """Starts a PyTorch worker by name, in the user's own environment; logs go to `folder`/logs."""

    def launch(name: str) -> WorkerProcess:
        log = folder / "logs" / f"{name.replace(' ', '-')}.log"
        return WorkerProcess(name, [python, str(WORKER_FILE)], dict(os.environ), log)

    return launch
