"""Measures inside the interpreter that is examined; run as a file, and needs nothing of the suite.

    PYTHON worker.py --reply-fd N

It reads one JSON request a line from standard input and writes one JSON answer a line to
descriptor N, as the suite's other workers do. The interpreter may be any Python from 3.7 on and may
lack OneFlow, NumPy or both. Each call is one measurement, since any of them may end the process.
Times are in seconds, by the monotonic clock; processor times are of all threads.
"""

from __future__ import annotations

import ctypes
import glob
import json
import mmap
import os
import platform
import re
import resource
import runpy
import sys
import time
import traceback
from typing import Any, Callable, Dict, List

MATMUL_SIZE = 384  # 1 to 20 ms, so that some repeats fit between two turns of a busy neighbour
PRODUCT_FLOPS = 2.0 * MATMUL_SIZE**3
REPEATS_S = 0.3  # time spent on the repeats of one operator
LEAST_REPEATS = 3
REDUCTION_SHAPE = (64, 64, 56, 56)  # 51 MB: enough for OneFlow to split it over its threads
BATCH_SIZE = 16
FAULT_BYTES = 32 << 20  # touched to time a page fault
RELEVANT = re.compile(r"oneflow$|numpy$|oneflow-nightly|nvidia-cu")  # names on PyPI


class Session:
    """Answers each request by the method of its name."""

    _flow: Any = None
    _step: Any = None

    def identify(self) -> Dict[str, Any]:
        """The interpreter and the versions installed for it; imports neither NumPy nor OneFlow."""
        return {
            "executable": sys.executable,
            "python": platform.python_version(),
            "libc": " ".join(platform.libc_ver()),
            "installed": list_installed(),
        }

    def measure_numpy_product(self) -> Dict[str, Any]:
        """Rate of NumPy's matrix product of float32 matrices, in operations a second."""
        import numpy as np

        left = np.random.RandomState(0).rand(MATMUL_SIZE, MATMUL_SIZE).astype(np.float32)
        return {"flops_per_s": PRODUCT_FLOPS / min(repeat(lambda: left.dot(left)))}

    def import_oneflow(self) -> Dict[str, Any]:
        """Import OneFlow. A failure may be one of its dependencies, such as NumPy 2."""
        start = time.perf_counter()
        import oneflow as flow

        self._flow = flow
        return {
            "import_s": time.perf_counter() - start,
            "oneflow": flow.__version__,
            # a name of OneFlow's own, as this file runs without the suite's oneflow_compat
            "oneflow_cuda": int(flow._oneflow_internal.flags.cuda_version() or 0),
            "cudnn": read_cudnn_version(),
            "cublas": read_cublas_version(),
            "gpus": flow.cuda.device_count() if flow.cuda.is_available() else 0,
        }

    def measure_matrix_product(self) -> Dict[str, Any]:
        """As `measure_numpy_product`, of OneFlow's matrix product, which runs on one core."""
        left = self._flow.randn(MATMUL_SIZE, MATMUL_SIZE)
        product = self._synchronised(lambda: self._flow.matmul(left, left))
        return {"flops_per_s": PRODUCT_FLOPS / min(repeat(product))}

    def measure_reduction(self) -> Dict[str, Any]:
        """Processor time of each thread in a reduction, which OneFlow splits, and in a product.

        A product keeps only the computing and the scheduler's thread busy; the others are a pool.
        """
        left = self._flow.randn(2 * MATMUL_SIZE, 2 * MATMUL_SIZE)
        images = self._flow.randn(*REDUCTION_SHAPE)
        product = self._measure_thread_times(lambda: self._flow.matmul(left, left))
        reduction = self._measure_thread_times(lambda: images.sum(dim=1))
        return {"product": product, "reduction": reduction}

    def _measure_thread_times(self, call: Callable[[], Any]) -> Dict[str, Any]:
        run = self._synchronised(call)
        run()
        before, start = read_thread_seconds(), time.perf_counter()
        repeat(run)
        wall_s, after = time.perf_counter() - start, read_thread_seconds()
        used = {thread: seconds - before.get(thread, 0.0) for thread, seconds in after.items()}
        return {"wall_s": wall_s, "threads_s": used}

    def measure_operators(self) -> Dict[str, Any]:
        """Shortest time of each operator that oneDNN and OneFlow's own kernels both offer."""
        flow = self._flow
        images, rows = flow.randn(8, 64, 28, 28), flow.randn(512, 784)
        bias, channels = flow.randn(64), flow.randn(1, 64, 1, 1)
        operators = {
            "bias add": lambda: flow._C.bias_add(images, bias, axis=1),
            "add": lambda: images + images,
            "add by channel": lambda: images + channels,
            "add by sample": lambda: images + images[:1],
            "comparison": lambda: images > 0,
            "relu": lambda: flow.relu(images),
            "softmax": lambda: flow.softmax(rows, dim=1),
        }
        calls = {name: self._synchronised(call) for name, call in operators.items()}
        return {"operators_s": {name: min(repeat(call, 0.1)) for name, call in calls.items()}}

    def measure_products(self, timer: str, shapes: List[List[int]]) -> Dict[str, Any]:
        """Seconds of a product of each shape, by the function in the file `timer`."""
        return {"times_s": runpy.run_path(timer)["time_products"](shapes)}

    def build_model(self) -> Dict[str, Any]:
        """Build the train step that other calls time, and take the first few."""
        self._step = self._synchronised(create_train_step(self._flow))
        repeat(self._step, 0.0)
        return {}

    def measure_train_steps(self, block_s: float) -> Dict[str, Any]:
        """One block of whole train steps, synchronised at each end; of at least `block_s`."""
        before, start = read_usage(), time.perf_counter()
        steps = 0
        while not steps or time.perf_counter() - start < block_s:
            self._step()
            steps += 1
        return {
            "steps": steps,
            "wall_s": time.perf_counter() - start,
            **{name: count - before[name] for name, count in read_usage().items()},
        }

    def measure_memory(self) -> Dict[str, Any]:
        """The cost of a page fault, and the memory of this process."""
        return {
            "page_fault_s": measure_page_fault(),
            "peak_rss_bytes": read_status_bytes("/proc/self/status", "VmHWM:"),
            "swapped_bytes": read_status_bytes("/proc/self/status", "VmSwap:"),
            "huge_page_bytes": read_status_bytes("/proc/self/smaps_rollup", "AnonHugePages:"),
        }

    def _synchronised(self, call: Callable[[], Any]) -> Callable[[], None]:
        synchronise = self._flow._oneflow_internal.eager.Sync

        def run() -> None:
            call()
            synchronise()

        return run


def create_train_step(flow: Any) -> Callable[[], None]:
    """One eager update of a small convolutional network: convolutions, pooling, linear layers."""
    nn = flow.nn
    layers = []
    for channels, features in ((3, 32), (32, 64)):
        layers += [nn.Conv2d(channels, features, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(4096, 512), nn.ReLU(), nn.Linear(512, 10)]
    model = nn.Sequential(*layers)
    loss = nn.CrossEntropyLoss()
    optimizer = flow.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    images = flow.randn(BATCH_SIZE, 3, 32, 32)
    labels = flow.randint(0, 10, (BATCH_SIZE,))

    def step() -> None:
        optimizer.zero_grad()
        loss(model(images), labels).backward()
        optimizer.step()

    return step


def repeat(call: Callable[[], Any], seconds: float = REPEATS_S) -> List[float]:
    """Durations of calls for about `seconds`, at least some; after one that is not counted."""
    call()
    durations: List[float] = []
    end = time.perf_counter() + seconds
    while len(durations) < LEAST_REPEATS or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return durations


def measure_page_fault() -> float:
    """Seconds for the first touch of one page of fresh memory."""
    with mmap.mmap(-1, FAULT_BYTES) as memory:
        faults, start = read_usage()["minor_faults"], time.perf_counter()
        for offset in range(0, FAULT_BYTES, resource.getpagesize()):
            memory[offset] = 1
        duration_s = time.perf_counter() - start
        return duration_s / max(1, read_usage()["minor_faults"] - faults)


def read_usage() -> Dict[str, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu_s": time.process_time(),
        "minor_faults": usage.ru_minflt,
        "major_faults": usage.ru_majflt,
        "involuntary_switches": usage.ru_nivcsw,
    }


def read_thread_seconds() -> Dict[str, float]:
    """Processor seconds of every thread of this process so far; empty if Linux does not tell."""
    texts = {path: read_text(path) for path in glob.glob("/proc/self/task/*/schedstat")}
    return {p.split("/")[4]: int(text.split()[0]) * 1e-9 for p, text in texts.items() if text}


def read_status_bytes(path: str, name: str) -> Any:
    """The number of KiB behind `name`, in bytes; None if it is not there."""
    rows = [line.split() for line in read_text(path).splitlines() if line.startswith(name)]
    return int(rows[0][1]) * 1024 if rows else None


def read_text(path: str) -> str:
    """The content of a file of /proc; empty if it cannot be read."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def list_installed() -> Dict[str, str]:
    try:
        from importlib import metadata
    except ImportError:  # Python 3.7
        import pkg_resources

        found = {d.key: d.version for d in pkg_resources.working_set}
    else:
        every = reversed(list(metadata.distributions()))  # of two, the first is the one imported
        found = {(d.metadata["Name"] or "").lower(): d.version for d in every}
    return {name: version for name, version in found.items() if RELEVANT.match(name)}


def read_cudnn_version() -> Any:
    """Version as cuDNN numbers it, such as 8600, and that of its CUDA, such as 11080; or None."""
    library = open_library("libcudnn_ops_infer")  # both numbers fit the default type, int
    return [library.cudnnGetVersion(), library.cudnnGetCudartVersion()] if library else None


def read_cublas_version() -> Any:
    library = open_library("libcublas.so")
    numbers = [ctypes.c_int() for _ in range(3)]
    for part, number in enumerate(numbers if library else []):
        library.cublasGetProperty(part, ctypes.byref(number))
    return [number.value for number in numbers] if library else None


def open_library(name: str) -> Any:
    """The first loaded library with `name` in its path, or None."""
    lines = read_text("/proc/self/maps").splitlines()
    paths = sorted(line.split(None, 5)[5] for line in lines if name in line and ".so" in line)
    return ctypes.CDLL(paths[0]) if paths else None


def serve(session: Any, requests: Any, replies: Any) -> None:
    """Answer requests until there are no more. An exception is an answer, and not the end."""
    for line in requests:
        request = json.loads(line)
        try:
            answer = dict(getattr(session, request.pop("call"))(**request), ok=True)
        except Exception as error:
            traceback.print_exc()
            message = str(error).strip() or "no message"
            answer = {"ok": True, "error": type(error).__name__ + ": " + message}
        replies.write(json.dumps(answer) + "\n")
        replies.flush()


if __name__ == "__main__":
    del sys.path[0]  # this folder: nothing in it is to be imported
    with os.fdopen(int(sys.argv[sys.argv.index("--reply-fd") + 1]), "w") as _replies:
        serve(Session(), sys.stdin, _replies)
