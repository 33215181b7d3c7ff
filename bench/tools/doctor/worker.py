"""Measures inside the interpreter that is examined; run as a file, and needs nothing of the suite.

    PYTHON worker.py --reply-fd N

It reads one JSON request a line from standard input and writes one JSON answer a line to
descriptor N, as the suite's other workers do. That interpreter may be any Python from 3.7 on, may
lack OneFlow, NumPy or both, and may be ended by any of the calls: so each is one measurement.
Times in seconds, by the monotonic clock; processor times are of all threads.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
import traceback
from typing import Any, Callable, Dict, List

MATMUL_SIZE = 384  # 1 to 20 ms, so that some repeats fit between two turns of a busy neighbour
REPEATS_S = 0.3  # time spent on the repeats of one operator
LEAST_REPEATS = 3
REDUCTION_SHAPE = (64, 64, 56, 56)  # 51 MB: enough for OneFlow to split it over its threads
BATCH_SIZE = 16
FAULT_BYTES = 32 << 20  # touched to time a page fault


class Session:
    """Answers each request by the method of its name."""

    def __init__(self) -> None:
        self._flow: Any = None
        self._step: Any = None

    def identify(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """The interpreter and the versions installed for it; imports neither NumPy nor OneFlow."""
        return {
            "executable": sys.executable,
            "python": platform.python_version(),
            "libc": " ".join(platform.libc_ver()),
            "installed": list_installed(),
        }

    def measure_numpy(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Rate of NumPy's matrix product of float32 matrices, in operations a second."""
        import numpy as np

        left = np.random.RandomState(0).rand(MATMUL_SIZE, MATMUL_SIZE).astype(np.float32)
        best_s = min(repeat(lambda: left.dot(left)))
        return {"flops_per_s": 2.0 * MATMUL_SIZE**3 / best_s}

    def load(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Import OneFlow. A Python exception is an answer; anything worse ends the process."""
        start = time.perf_counter()
        try:
            import oneflow as flow
        except Exception as error:
            # OneFlow's own failures are also ones of its dependencies, such as NumPy 2
            return {"error": type(error).__name__ + ": " + (str(error) or "no message")}
        self._flow = flow
        libraries = list_loaded_libraries()
        return {
            "error": None,
            "import_s": time.perf_counter() - start,
            "oneflow": flow.__version__,
            "oneflow_cuda": int(flow._oneflow_internal.flags.cuda_version() or 0),
            "cudnn": read_cudnn_version(libraries),
            "cublas": read_cublas_version(libraries),
            "gpus": flow.cuda.device_count() if flow.cuda.is_available() else 0,
        }

    def measure_matmul(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """As `measure_numpy`, of OneFlow's matrix product, which runs on one core."""
        left = self._flow.randn(MATMUL_SIZE, MATMUL_SIZE)
        best_s = min(repeat(self._synchronised(lambda: self._flow.matmul(left, left))))
        return {"flops_per_s": 2.0 * MATMUL_SIZE**3 / best_s}

    def measure_threads(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Processor time of each thread in a reduction, which OneFlow splits, and in a product.

        The threads that worked in the reduction and not in the product are the pool's: the
        product keeps only the computing thread busy, and the scheduler's.
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

    def measure_operators(self, request: Dict[str, Any]) -> Dict[str, Any]:
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
        return {
            "operators_s": {
                name: min(repeat(self._synchronised(call), 0.1)) for name, call in operators.items()
            }
        }

    def build(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Build the train step that the others time, and take the first few."""
        self._step = self._synchronised(create_train_step(self._flow))
        for _ in range(LEAST_REPEATS):
            self._step()
        return {}

    def measure_steps(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """One block of whole train steps, synchronised at each end; of at least `block_s`."""
        start, cpu_start, used = time.perf_counter(), time.process_time(), read_usage()
        steps = 0
        while not steps or time.perf_counter() - start < request["block_s"]:
            self._step()
            steps += 1
        return {
            "steps": steps,
            "wall_s": time.perf_counter() - start,
            "cpu_s": time.process_time() - cpu_start,
            **{name: count - used[name] for name, count in read_usage().items()},
        }

    def measure_memory(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """What a page fault costs here, and what this process holds after its train steps."""
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
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4096, 512),
        nn.ReLU(),
        nn.Linear(512, 10),
    )
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
    import mmap

    page_bytes = resource.getpagesize()
    with mmap.mmap(-1, FAULT_BYTES) as memory:
        faults, start = read_usage()["minor_faults"], time.perf_counter()
        for offset in range(0, FAULT_BYTES, page_bytes):
            memory[offset] = 1
        duration_s = time.perf_counter() - start
        return duration_s / max(1, read_usage()["minor_faults"] - faults)


def read_usage() -> Dict[str, int]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "minor_faults": usage.ru_minflt,
        "major_faults": usage.ru_majflt,
        "involuntary_switches": usage.ru_nivcsw,
    }


def read_thread_seconds() -> Dict[str, float]:
    """Processor seconds of every thread of this process so far; none where Linux doesn't say."""
    seconds = {}
    try:
        for thread in os.listdir("/proc/self/task"):
            with open("/proc/self/task/" + thread + "/schedstat") as file:
                seconds[thread] = int(file.read().split()[0]) * 1e-9
    except (OSError, ValueError, IndexError):
        pass
    return seconds


def read_status_bytes(path: str, name: str) -> Any:
    """The number of KiB behind `name`, in bytes; None where it is not there."""
    try:
        with open(path) as file:
            for line in file:
                if line.startswith(name):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def list_installed() -> Dict[str, str]:
    """Versions of the packages that must fit each other, by their names on PyPI."""
    try:
        from importlib import metadata
    except ImportError:  # Python 3.7
        import pkg_resources

        return {d.key: d.version for d in pkg_resources.working_set if is_relevant(d.key)}
    found: Dict[str, str] = {}
    for distribution in metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower()
        if is_relevant(name):
            found.setdefault(name, distribution.version)  # the first is the one imported
    return found


def is_relevant(name: str) -> bool:
    return name in ("oneflow", "numpy") or name.startswith(("oneflow-nightly", "nvidia-cu"))


def list_loaded_libraries() -> List[str]:
    try:
        with open("/proc/self/maps") as maps:
            return sorted({line.split(None, 5)[5].strip() for line in maps if ".so" in line})
    except (OSError, IndexError):
        return []


def read_cudnn_version(libraries: List[str]) -> Any:
    """Version as cuDNN numbers it, such as 8600, and that of its CUDA, such as 11080; or None."""
    import ctypes

    for path in libraries:
        if "libcudnn_ops_infer" in path:
            library = ctypes.CDLL(path)
            library.cudnnGetVersion.restype = ctypes.c_size_t
            library.cudnnGetCudartVersion.restype = ctypes.c_size_t
            return [int(library.cudnnGetVersion()), int(library.cudnnGetCudartVersion())]
    return None


def read_cublas_version(libraries: List[str]) -> Any:
    """Major, minor and patch number of cuBLAS, or None."""
    import ctypes

    for path in libraries:
        if "libcublas.so" in path:
            library, numbers = ctypes.CDLL(path), []
            for part in range(3):
                number = ctypes.c_int()
                library.cublasGetProperty(part, ctypes.byref(number))
                numbers.append(number.value)
            return numbers
    return None


def serve(session: Any, requests: Any, replies: Any) -> None:
    """Answer requests until there are no more. An exception is an answer, and not the end."""
    for line in requests:
        request = json.loads(line)
        try:
            answer = dict(getattr(session, request["call"])(request), ok=True)
        except Exception as error:
            traceback.print_exc()
            answer = {"ok": True, "error": type(error).__name__ + ": " + str(error).strip()}
        replies.write(json.dumps(answer) + "\n")
        replies.flush()


if __name__ == "__main__":
    del sys.path[0]  # this folder: nothing in it is to be imported
    with os.fdopen(int(sys.argv[sys.argv.index("--reply-fd") + 1]), "w") as _replies:
        serve(Session(), sys.stdin, _replies)
