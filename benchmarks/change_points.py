"""How often `bench history` marks a change where there is none, and how often it finds one.

Made-up series, so no OneFlow: `python benchmarks/change_points.py`. The noise of one value is
normal, with a standard deviation of NOISE; *bursts* adds 35 % to one value in ten, *drift* makes
neighbours correlated (AR(1) with coefficient 0.5) at the same standard deviation. A planted change
stands in the middle and counts as found within one run of it. Prints the tables of
results/simulations.
"""

from __future__ import annotations

import argparse
from typing import List

import numpy as np

from oneflow_bench.bench.verdict.change_points import find_changes

NOISE = 0.03
LENGTHS = (6, 10, 20, 50)
KINDS = ("independent", "bursts", "drift")
STEPS = (0.03, 0.05, 0.1, 0.2)
MIN_STEP = 0.02
SEED = 0


def create_noise(source: np.random.RandomState, length: int, kind: str) -> np.ndarray:
    """Log values around 0."""
    noise = source.normal(0, NOISE, length)
    if kind == "bursts":
        return np.asarray(noise + 0.3 * (source.random_sample(length) < 0.1))  # log 1.35
    if kind == "drift":
        for index in range(1, length):
            noise[index] = 0.5 * noise[index - 1] + np.sqrt(0.75) * noise[index]
    return noise


def measure_false_alarms(length: int, kind: str, count: int) -> float:
    """Share of series without a change in which one is marked."""
    source = np.random.RandomState(SEED)
    series = (np.exp(create_noise(source, length, kind)) for _ in range(count))
    return sum(bool(find_changes(values, MIN_STEP, True)) for values in series) / count


def measure_detection(length: int, kind: str, step: float, count: int) -> float:
    """Share of series with a change of `step` in the middle in which it is marked there."""
    source = np.random.RandomState(SEED)
    middle = length // 2
    found = 0
    for _ in range(count):
        values = np.exp(create_noise(source, length, kind))
        values[middle:] *= 1 + step
        changes = find_changes(values, MIN_STEP, True)
        found += any(abs(change.index - middle) <= 1 for change in changes)
    return found / count


def render_table(title: str, rows: List[List[str]]) -> str:
    heading = [title, *(f"{length} runs" for length in LENGTHS)]
    lines = [heading, ["---", *["---:"] * len(LENGTHS)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="series for each number")
    count = parser.parse_args().count
    alarms = [
        [kind, *(f"{measure_false_alarms(n, kind, count) * 100:.1f} %" for n in LENGTHS)]
        for kind in KINDS
    ]
    print(render_table("false alarms", alarms), flush=True)
    found = [
        [
            f"+{step * 100:.0f} %, {kind}",
            *(f"{measure_detection(n, kind, step, count) * 100:.0f} %" for n in LENGTHS),
        ]
        for kind in KINDS[:2]
        for step in STEPS
    ]
    print(render_table("found", found))


if __name__ == "__main__":
    main()
