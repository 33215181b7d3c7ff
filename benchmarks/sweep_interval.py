"""How often two intervals of a sweep's geometric mean hold the truth, on simulated speedups.

    python benchmarks/sweep_interval.py

Log speedups are a mean, plus what a model has of its own (sd 0.10), plus what a cell has of its own
(sd 0.03), four cells a model. Compared: the interval that `bench sweep` prints
(`average_speedups` in `bench/tools/sweep/document.py`) and a percentile bootstrap that resamples
models, then the cells of each. Both claim 95 %. Needs no OneFlow; takes seconds.
"""

from __future__ import annotations

import math
from typing import Tuple

import numpy as np

from oneflow_bench.bench.tools.sweep.document import average_speedups

TRUTH = 0.05
MODEL_SD, CELL_SD = 0.10, 0.03
CELLS = 4
MODELS = (2, 3, 4, 6, 10, 20)
SWEEPS = 2000
BOOTSTRAP_SAMPLES = 1000
SEED = 0


def bootstrap_interval(logs: np.ndarray, source: np.random.RandomState) -> Tuple[float, float]:
    """Percentile interval of the mean of `logs`, shape (models, cells), models resampled first."""
    models, cells = logs.shape
    rows = source.randint(models, size=(BOOTSTRAP_SAMPLES, models, 1))
    columns = source.randint(cells, size=(BOOTSTRAP_SAMPLES, models, cells))
    low, high = np.percentile(logs[rows, columns].mean(axis=(1, 2)), [2.5, 97.5])
    return float(low), float(high)


def measure_coverage(models: int, source: np.random.RandomState) -> Tuple[float, float]:
    """Share of simulated sweeps whose interval holds the truth: the suite's, the bootstrap's."""
    held = [0, 0]
    for _ in range(SWEEPS):
        own = source.normal(TRUTH, MODEL_SD, (models, 1))
        logs = own + source.normal(0, CELL_SD, (models, CELLS))
        mean = average_speedups({str(i): list(row) for i, row in enumerate(logs)})
        assert mean.low is not None and mean.high is not None
        held[0] += mean.low <= math.exp(TRUTH) <= mean.high
        low, high = bootstrap_interval(logs, source)
        held[1] += low <= TRUTH <= high
    return held[0] / SWEEPS, held[1] / SWEEPS


def main() -> None:
    source = np.random.RandomState(SEED)
    print(f"share of {SWEEPS} simulated sweeps whose 95 % interval holds the truth, %")
    print("| models | cluster-robust t | bootstrap |")
    print("|---:|---:|---:|")
    for models in MODELS:
        ours, bootstrap = measure_coverage(models, source)
        print(f"| {models} | {ours * 100:.1f} | {bootstrap * 100:.1f} |", flush=True)


if __name__ == "__main__":
    main()
