"""Runs a layer profile, and with `--limits` the measurements beside it, in worker processes."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

from ...config import Contender
from ...errors import InputError, WorkerError
from ...record.machine import describe_machine, read_cpu
from ...worker.foreign_python import create_python_command
from ...worker.process import WorkerProcess
from .document import LimitsDocument, LossRun, ProfileDocument
from .steps import Fleet, Participant, compare_losses, compare_steps, time_steps
from .work import Ceiling, LayerWork, sum_work

# fresh workers for the layers as graphs: small ones now and then end their process
# (`oneflow_compat.create_padding_operator` says why; here one would be timed too)
MAX_RESTARTS = 12
MAX_FAILURES = 2  # of one layer, after which it is left without times as a graph

MATMUL_SIZES = (1024, 2048)
MEMORY_BYTES = 256 * 2**20  # beyond the caches of today's processors
SMALLEST_BUFFER_BYTES = 64 * 2**10

WORKER_FILE = Path(__file__).resolve().parent / "torch_worker.py"
CHECK_TIMEOUT_S = 120.0  # the first import of PyTorch reads hundreds of megabytes
_IMPORTED = "both are there"
_TORCH_PROGRAM = f"import torch, numpy; print({_IMPORTED!r})"


def run_profile(
    fleet: Fleet, iterations: int, warmup: int, created: str, splits: bool = False
) -> Tuple[ProfileDocument, List[LayerWork]]:
    """The profile of the fleet's workload under its first contender, and the work of its layers.

    `splits` measures too what the time of a layer consists of. Errors of the worker pass through.
    """
    contender, workload = fleet.contenders[0], fleet.workload
    worker = fleet.start_oneflow(contender, "profile", "eager")
    environment, graph = worker.step.environment, None
    fleet.observe("steps", 0, 0)
    parts = worker.ask("parts", steps=iterations, untimed_steps=warmup)
    computing = worker.ask("computing", steps=iterations) if splits else None
    fleet.observe("layers", 0, 0)
    found = worker.ask("layers", steps=iterations)
    if splits:
        fleet.observe("products and im2col of the layers", 0, 0)
        for layer, parts_of_layer in zip(found["layers"], worker.ask("split")["layers"]):
            layer.update(parts_of_layer)
    if contender.mode == "graph":
        _measure_graphs(fleet, worker, found["layers"]).close()
        # a graph after an eager pass on the same module silently does not train
        worker = fleet.start_oneflow(contender, "profile")
        graph = worker.ask("graph", steps=iterations, untimed_steps=warmup)
    worker.close()
    document = ProfileDocument(
        model=workload.model,
        mode=contender.mode,
        batch_size=workload.batch_size,
        image_size=workload.image_size,
        batch=found["batch"],
        iterations=iterations,
        created=created,
        machine=describe_machine(),
        environment=environment,
        layers=found["layers"],
        parts=parts,
        profiled_step_s=found["profiled_step_s"],
        computing=computing,
        graph=graph,
    )
    return document, [LayerWork.model_validate(one) for one in found["work"]]


def _measure_graphs(fleet: Fleet, worker: Participant, layers: List[Dict[str, Any]]) -> Participant:
    """Add each layer's times as a graph; a layer that ends its worker twice stays without.

    Returns the worker that is alive at the end.
    """
    restarts = 0
    for number, layer in enumerate(layers):
        for _ in range(MAX_FAILURES):
            fleet.observe("layers as graphs", number, len(layers))
            try:
                layer.update(worker.ask("layer_graph", number=number))
                break
            except WorkerError:
                restarts += 1
                if restarts > MAX_RESTARTS:
                    raise
                worker = fleet.start_oneflow(fleet.contenders[0], "profile", "eager")
                worker.ask("layers", steps=1)
    return worker


def measure_limits(
    fleet: Fleet, work: List[LayerWork], blocks: int, loss_steps: int, created: str
) -> LimitsDocument:
    """Measure the ceilings, time the step in turns, and compare with PyTorch if the fleet has it.

    Errors of OneFlow's workers pass through.
    """
    machine, cores = describe_machine(), read_cpu()["cores"]
    ceilings = measure_ceilings(fleet, cores, sum_work(work).bytes)
    start, dropout_layers = None, 0
    loss_runs: List[LossRun] = []
    # the weights of a large model are hundreds of megabytes, and are not needed afterwards
    with tempfile.TemporaryDirectory(prefix="bench-limits-") as scratch:
        if fleet.launch_torch is not None:
            weights, inputs = (str(Path(scratch) / f"{n}.npz") for n in ("weights", "inputs"))
            start, loss_runs, dropout_layers = compare_losses(fleet, loss_steps, weights, inputs)
        steps = time_steps(fleet, start, blocks)
    return LimitsDocument(
        created=created,
        workload=fleet.workload,
        runtime=fleet.contenders[0].runtime,
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


def measure_ceilings(fleet: Fleet, cores: int, step_bytes: int) -> List[Ceiling]:
    """Products by NumPy's BLAS and by OneFlow's in its runtime, and copies.

    On one core, then on all. NumPy's run in a process of its own without the runtime's variables:
    a kernel that is forced on OneFlow's BLAS would be forced on NumPy's too. Worker errors pass.
    """
    found: List[Ceiling] = []
    runtimes = {"numpy": "stock", "oneflow": fleet.contenders[0].runtime}
    cases = [(threads, library) for threads in sorted({1, cores}) for library in runtimes]
    for number, (threads, library) in enumerate(cases):
        fleet.observe("ceilings", number, len(cases))
        contender = Contender(
            name=f"{library}-{threads}",
            mode="eager",
            runtime=runtimes[library],
            blas=fleet.contenders[0].blas if library == "oneflow" else None,
            env={f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL")},
        )
        worker = fleet.start(contender, "ceilings")
        request = {"sizes": MATMUL_SIZES, "threads": threads}
        if library == "numpy":
            request["buffer_bytes"] = choose_buffers(step_bytes)
        answer = worker.ask(f"measure_{library}", **request)
        worker.close()
        found += [
            Ceiling(what=what, library=library, threads=threads, size=size, rates=rates)
            for what, measured in answer.items()
            for size, rates in measured
        ]
    return found


def check_torch_python(path: str) -> None:
    """Raise InputError if `path` is no interpreter that can import PyTorch and NumPy."""
    given = f"--torch-python {path or '(nothing)'}"
    remedy = "give the path of a Python interpreter that has PyTorch and NumPy"
    try:
        done = subprocess.run(
            create_python_command(path or os.devnull, _TORCH_PROGRAM),
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
    if done.returncode != 0 or _IMPORTED not in done.stdout:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise InputError(
            f"{given} cannot import PyTorch and NumPy (exit status {done.returncode}: "
            f"{said[-1][:200]}); install them there, or {remedy}"
        )


def create_torch_launcher(python: str, folder: Path) -> Callable[[str], WorkerProcess]:
    """Starts a PyTorch worker by name, in the user's own environment; logs go to `folder`/logs."""

    def launch(name: str) -> WorkerProcess:
        log = folder / "logs" / f"{name.replace(' ', '-')}.log"
        return WorkerProcess(name, [python, str(WORKER_FILE)], dict(os.environ), log)

    return launch
