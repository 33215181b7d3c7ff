"""A worker that profiles one model, measures the machine, and hands its start to PyTorch."""

from __future__ import annotations

import math
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, List

from ...worker.blas import read_loaded_blas
from ...worker.messages import MeasureRequest, Request, StepsRequest
from ...worker.product_times import time_products
from ...worker.protocol import main
from ...worker.session import Session
from .document import ComputingTimes, GraphFacts, StepParts
from .work import COPY, MATMUL, UpdateRule, count_layer

WARMUP_S, FEWEST_WARMUPS = 0.2, 2
MEASURED_S, FEWEST_REPEATS, MOST_REPEATS = 1.0, 5, 25
COPY_BLOCK_S = 0.02  # copies of a small buffer are timed together for about so long


class LayerRequest(Request):
    number: int


class RatesRequest(Request):
    """Rows of the matrices to multiply, and sizes of the buffers to copy."""

    sizes: List[int]
    buffer_bytes: List[int] = []
    threads: int = 1


class ExportRequest(Request):
    weights: str
    inputs: str
    batches: int


class ShapesRequest(Request):
    """Products as `time_products` takes them."""

    shapes: List[List[int]]


class ProfileSession(Session):
    """`Session` with calls for the times of layers, the ceilings and PyTorch's start."""

    _thread: Any = None  # that computes, once `computing` has found it

    def _measure_steps(self, count: int) -> List[float]:
        from ...training.clock import measure_block

        return [measure_block(self._mode.train_step, 1).duration_s for _ in range(count)]

    def parts(self, request: MeasureRequest) -> StepParts:
        """Times of whole eager steps and of their parts, with nothing wrapped."""
        from ...training.eager import measure_step_parts

        self._measure_steps(request.untimed_steps)
        steps = self._measure_steps(request.steps)
        parts = [measure_step_parts(self._job) for _ in steps]
        return StepParts(step_s=steps, **{name: [p[name] for p in parts] for name in parts[0]})

    def computing(self, request: StepsRequest) -> ComputingTimes:
        """Find the thread that computes, for `layers` too, and time it in whole eager steps."""
        from .alone import find_computing_thread, measure_span

        self._thread = thread = find_computing_thread()
        spans = [measure_span(self._mode.train_step, thread) for _ in range(request.steps)]
        return ComputingTimes(
            step_s=[span.wall_s for span in spans],
            computing_s=[span.computing_s for span in spans] if thread.path else [],
        )

    def layers(self, request: StepsRequest) -> Dict[str, Any]:
        """The profile of the eager step, and the work of its layers."""
        from .alone import UNKNOWN
        from .layers import profile_layers

        job, thread = self._job, self._thread or UNKNOWN
        with profile_layers(job.model, job.objective, thread) as self._profile:
            steps = self._measure_steps(request.steps)
        rule = UpdateRule(self._workload.momentum > 0, self._workload.weight_decay > 0)
        return {
            "layers": [layer.model_dump() for layer in self._profile.layers],
            "profiled_step_s": steps,
            "batch": job.describe_batch(),
            "work": [count_layer(trace, rule).model_dump() for trace in self._profile.trace()],
        }

    def split(self, request: Request) -> Dict[str, Any]:
        """For each layer of the profile the times of its products and of its im2col."""
        return {"layers": self._profile.measure_split()}

    def layer_graph(self, request: LayerRequest) -> Dict[str, List[float]]:
        """One layer of the profile compiled alone."""
        forward, both = self._profile.measure_graph(request.number)
        return {"graph_forward_s": forward, "graph_forward_backward_s": both}

    def graph(self, request: MeasureRequest) -> GraphFacts:
        """Compile the train step, and describe and time it; for a process of its own."""
        mode: Any = self._mode  # of a graph, which lists its operators
        compile_s = mode.compile_train()
        built, compiled = mode.list_ops()
        self._measure_steps(request.untimed_steps)
        return GraphFacts(
            compile_s=compile_s,
            ops_built=Counter(built),
            ops_compiled=Counter(compiled),
            step_s=self._measure_steps(request.steps),
        )

    def measure_numpy(self, request: RatesRequest) -> Dict[str, Any]:
        """Products and copies on so many threads, without OneFlow in the process."""
        copies = [[size, measure_copy(size, request.threads)] for size in request.buffer_bytes]
        return {MATMUL: [[n, measure_numpy_matmul(n)] for n in request.sizes], COPY: copies}

    def measure_oneflow(self, request: RatesRequest) -> Dict[str, Any]:
        """Products by OneFlow, in the runtime that this process was started in."""
        return {MATMUL: [[size, _measure_oneflow_matmul(size)] for size in request.sizes]}

    def products(self, request: ShapesRequest) -> Dict[str, Any]:
        """Seconds of a product of each shape by the BLAS that OneFlow calls; needs no job."""
        import oneflow  # noqa: F401  # loads its own BLAS

        return {"times_s": time_products(request.shapes), "blas": read_loaded_blas()}

    def disable_dropout(self, request: Request) -> Dict[str, int]:
        """Let dropout drop nothing: another library draws other random numbers."""
        from oneflow import nn

        active = [m for m in self._job.model.modules() if isinstance(m, nn.Dropout) and m.p > 0]
        for module in active:
            module.p = 0.0
        return {"layers": len(active)}

    def export(self, request: ExportRequest) -> Dict[str, Any]:
        """Write weights and the first batches; the feed goes on behind them."""
        import numpy as np

        from ...training.job import copy_state

        np.savez(request.weights, **copy_state(self._job.model))
        batches = [self._job.train_feed.next_batch() for _ in range(request.batches)]
        named = {f"images_{n}": images.numpy() for n, (images, _) in enumerate(batches)}
        named.update({f"labels_{n}": labels.numpy() for n, (_, labels) in enumerate(batches)})
        np.savez(request.inputs, **named)
        return {"aux_weights": list(getattr(self._job.model, "aux_weights", ()))}


def repeat_timed(
    run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter
) -> List[float]:
    """Seconds of each of some runs, after a warm-up.

    Warm-up lasts `WARMUP_S` seconds and two runs at least; then 5 to 25 runs, as many as take
    `MEASURED_S` seconds.
    """

    def repeat(fewest: int, most: float, seconds: float) -> List[float]:
        durations: List[float] = []
        begin = clock()
        while len(durations) < fewest or (len(durations) < most and clock() - begin < seconds):
            start = clock()
            run()
            durations.append(clock() - start)
        return durations

    repeat(FEWEST_WARMUPS, math.inf, WARMUP_S)
    return repeat(FEWEST_REPEATS, MOST_REPEATS, MEASURED_S)


def matmul_flops(size: int) -> int:
    """Operations of a product of two (size, size) matrices: `size`^3 multiply-adds."""
    return 2 * size**3


def measure_numpy_matmul(size: int) -> List[float]:
    """Operations a second of a (size, size) float32 product by NumPy's BLAS, run by run."""
    import numpy as np

    source = np.random.RandomState(0)
    left, right = (source.standard_normal((size, size)).astype(np.float32) for _ in range(2))
    out = np.empty_like(left)
    durations = repeat_timed(lambda: np.matmul(left, right, out=out))
    return [matmul_flops(size) / duration for duration in durations]


def _measure_oneflow_matmul(size: int) -> List[float]:
    import oneflow as flow

    from ...training.clock import synchronize

    left, right = flow.randn(size, size), flow.randn(size, size)

    def run() -> None:
        product = flow.matmul(left, right)
        synchronize()
        del product

    synchronize()
    return [matmul_flops(size) / duration for duration in repeat_timed(run)]


def measure_copy(buffer_bytes: int, threads: int) -> List[float]:
    """Bytes a second of copying `buffer_bytes` by `threads` threads, a part each, run by run.

    A copied byte counts twice, read and written (McCalpin 1995, the STREAM benchmark).
    """
    import numpy as np

    length = max(1, buffer_bytes // threads)
    pairs = [(np.ones(length, np.uint8), np.zeros(length, np.uint8)) for _ in range(threads)]

    def copy(number: int, count: int) -> None:
        source, target = pairs[number]
        for _ in range(count):
            np.copyto(target, source)

    with ThreadPoolExecutor(threads) as pool:

        def run(count: int) -> None:
            for waiting in [pool.submit(copy, number, count) for number in range(threads)]:
                waiting.result()

        once = min(repeat_timed(lambda: run(1)))
        count = max(1, round(COPY_BLOCK_S / once))
        durations = repeat_timed(lambda: run(count))
    return [2 * length * threads * count / duration for duration in durations]


if __name__ == "__main__":
    main(ProfileSession())
