"""A worker whose train step does a known amount of extra real work, for `verdict_quality.py`.

Environment: PLANTED_PRODUCTS is how many small matrix products are done after each step (0 for
none), PLANTED_TRUTH a file to which a worker with extra work appends, when it ends, what that work
really cost.

The products come between the step's end and the next, so that nothing of them hides behind
OneFlow's own threads; without them the step is synchronised alike. Asked to `calibrate`, a worker
says how many products take as long as its step by themselves, and asked to `plant` some, what they
cost in truth. That is measured with and without them in ABBA blocks, apart from the comparison.
Both go by the quickest quarter of the times, as the verdict does: what a busy machine adds to a
step now and then is not the program's.
"""

from __future__ import annotations

import json
import math
import os
import time
from typing import Any, Dict, Iterable, List

import numpy as np

from oneflow_bench.bench.verdict.estimate import quickest_quarter
from oneflow_bench.bench.worker.protocol import main
from oneflow_bench.bench.worker.session import Session

SIDE = 48  # of the matrices: a product of some microseconds
CALIBRATION_BLOCKS = 15
CALIBRATION_S = 0.03  # of a block
CALIBRATION_PRODUCTS = 50
CALIBRATION_SHARE = 0.05  # of a step that the products of a block take
WARMUP_STEPS = 5  # the first steps are slow
TRUTH_BLOCK_S = 0.05
TRUTH_DOUBLE_PAIRS = 4


class PlantedSession(Session):
    """A worker's session with extra work in each timed step."""

    def __init__(self) -> None:
        super().__init__()
        self._products = int(os.environ.get("PLANTED_PRODUCTS", "0"))
        self._left = np.full((SIDE, SIDE), 0.5, dtype=np.float32)
        self._out = np.zeros_like(self._left)

    def calibrate(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """How many products take as long as a step, here and now."""
        self._time_step(0, WARMUP_STEPS)
        step_time_s = self._measure_plain_step()
        count = CALIBRATION_PRODUCTS
        for _ in range(2):  # the second time with about as many as there will be
            product_s = locate(self._time_product(count) for _ in range(CALIBRATION_BLOCKS))
            count = max(1, round(CALIBRATION_SHARE * step_time_s / product_s))
        return {"products": step_time_s / product_s}

    def _measure_plain_step(self) -> float:
        steps = max(1, round(CALIBRATION_S / self._time_step(0, 1)))
        return locate(self._time_step(0, steps) for _ in range(CALIBRATION_BLOCKS))

    def _timed_step(self) -> Any:
        return self._step_with(self._products)

    def _step_with(self, products: int) -> Any:
        from oneflow_bench.bench.training.clock import synchronize

        output = self._mode.train_step()
        synchronize()
        for _ in range(products):
            np.matmul(self._left, self._left, out=self._out)
        return output

    def _time_step(self, products: int, steps: int) -> float:
        from oneflow_bench.bench.training.clock import measure_step_time

        self._step += steps
        return measure_step_time(lambda: self._step_with(products), steps)

    def _time_product(self, count: int) -> float:
        """Seconds of a product where it will run: behind a step, with its threads and caches."""
        self._step_with(0)
        self._step += 1
        start = time.perf_counter()
        for _ in range(count):
            np.matmul(self._left, self._left, out=self._out)
        return (time.perf_counter() - start) / count

    def plant(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """What so many products make of a step, for a calibration."""
        return {
            "log_ratio": self._measure_log_ratio(
                int(request["products"]), int(request["double_pairs"])
            )
        }

    def end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        if self._products:
            log_ratio = self._measure_log_ratio(self._products, TRUTH_DOUBLE_PAIRS)
            with open(os.environ["PLANTED_TRUTH"], "a", encoding="utf-8") as stream:
                stream.write(json.dumps(log_ratio) + "\n")
        return super().end(request)

    def _measure_log_ratio(self, planted: int, double_pairs: int) -> float:
        """Of the step times with and without so many products."""
        steps = max(1, round(TRUTH_BLOCK_S / self._measure_plain_step()))
        times: Dict[int, List[float]] = {0: [], planted: []}
        for _ in range(double_pairs):
            for products in (0, planted, planted, 0):
                times[products].append(self._time_step(products, steps))
        return math.log(locate(times[planted]) / locate(times[0]))


def locate(times: Iterable[float]) -> float:
    """The mean of their quickest quarter."""
    return float(quickest_quarter(np.array(list(times))))


if __name__ == "__main__":
    main(PlantedSession())
