"""A worker whose train step does a known share of extra real work, for `verdict_quality.py`.

Environment: PLANTED_PERCENT is the extra work in percent of the step (0 for none), PLANTED_TRUTH a
file to which a worker with extra work appends, when it ends, what that work really cost.

The extra work is a number of small matrix products between the step's end and the next, so that
nothing of it hides behind OneFlow's own threads; without extra work the step is synchronised alike.
The number is calibrated in each process to the asked share of its own step. What it cost in truth
is measured in the process itself, with and without it in ABBA blocks, apart from the comparison.
Both go by the lower third of the times, as the verdict does: what a busy machine adds to a step now
and then is not the program's.
"""

from __future__ import annotations

import json
import math
import os
import time
from typing import Any, Dict, Iterable, List

import numpy as np

from oneflow_bench.verdict.estimate import LOCATION_QUANTILE
from oneflow_bench.worker import Session, main

SIDE = 48  # of the matrices: a product of some microseconds
CALIBRATION_BLOCKS = 9
CALIBRATION_S = 0.03  # of a block
CALIBRATION_PRODUCTS = 50
TRUTH_BLOCK_S = 0.05
TRUTH_DOUBLE_PAIRS = 4


class PlantedSession(Session):
    """A worker's session with extra work in each timed step."""

    def __init__(self) -> None:
        super().__init__()
        self._percent = float(os.environ.get("PLANTED_PERCENT", "0"))
        self._left = np.full((SIDE, SIDE), 0.5, dtype=np.float32)
        self._out = np.zeros_like(self._left)
        self._products = 0
        self._plain_step_time_s = 0.0

    def compile(self, request: Dict[str, Any]) -> Dict[str, Any]:
        answer = super().compile(request)
        if self._percent:
            self._calibrate()
        return answer

    def _calibrate(self) -> None:
        self._time_step(0, 3)  # the first steps are slow
        steps = max(1, round(CALIBRATION_S / self._time_step(0, 1)))
        self._plain_step_time_s = locate(
            self._time_step(0, steps) for _ in range(CALIBRATION_BLOCKS)
        )
        extra_s = self._percent / 100 * self._plain_step_time_s
        count = CALIBRATION_PRODUCTS
        for _ in range(2):  # the second time with about as many as there will be
            product_s = locate(self._time_product(count) for _ in range(CALIBRATION_BLOCKS * steps))
            self._products = round(extra_s / product_s)
            count = max(self._products, 1)

    def _timed_step(self) -> Any:
        return self._step_with(self._products)

    def _step_with(self, products: int) -> Any:
        from oneflow_bench.timing import synchronize

        output = self._mode.train_step()
        synchronize()
        for _ in range(products):
            np.matmul(self._left, self._left, out=self._out)
        return output

    def _time_step(self, products: int, steps: int) -> float:
        from oneflow_bench.speed_timing import measure_step_time

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

    def end(self, request: Dict[str, Any]) -> Dict[str, Any]:
        if self._products:
            self._write_truth()
        return super().end(request)

    def _write_truth(self) -> None:
        """Log ratio of the step times with and without the extra work."""
        steps = max(1, round(TRUTH_BLOCK_S / self._plain_step_time_s))
        self._step_with(0)
        times: Dict[int, List[float]] = {0: [], self._products: []}
        for _ in range(TRUTH_DOUBLE_PAIRS):
            for products in (0, self._products, self._products, 0):
                times[products].append(self._time_step(products, steps))
        log_ratio = math.log(locate(times[self._products]) / locate(times[0]))
        with open(os.environ["PLANTED_TRUTH"], "a", encoding="utf-8") as stream:
            stream.write(json.dumps(log_ratio) + "\n")


def locate(times: Iterable[float]) -> float:
    """Lower-third quantile."""
    return float(np.quantile(list(times), LOCATION_QUANTILE))


if __name__ == "__main__":
    main(PlantedSession())
