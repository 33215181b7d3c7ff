"""How much processes of one program scatter, by the number that is taken to stand for their blocks.

    python benchmarks/block_locations.py [results/verdict-quality-lower-third/comparisons.jsonl]

Reads the comparisons of a program with itself that `verdict_quality.py` stored, and takes the first
rounds of each wave: their blocks, as they are or less the median of their round (centred), are
located in several ways. What a location does not scatter, a comparison need not measure away. Also
printed is the bias of each location on a made-up machine, where the contender takes 10 % longer and
other work takes time from 40 % of the blocks.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import Dict, List

import numpy as np
from simulated_verdicts import Machine
from study import load_rows
from verdict_quality_report import unpack_blocks

from oneflow_bench.errors import InputError
from oneflow_bench.speed import collect_waves
from oneflow_bench.tuning.race import hodges_lehmann
from oneflow_bench.verdict.estimate import Locate, Wave, mean, quickest_quarter


def centre(values: np.ndarray) -> np.ndarray:
    """Values (processes, rounds) less the median of their round."""
    return np.asarray(values - np.median(values, axis=0, keepdims=True))


def quickest(share: float) -> Locate:
    """The mean of the quickest blocks, one at least."""

    def locate(values: np.ndarray) -> np.ndarray:
        count = max(1, round(share * values.shape[1]))
        return np.asarray(np.sort(values, axis=1)[:, :count].mean(axis=1))

    return locate


LOCATIONS: Dict[str, Locate] = {
    "mean": mean,
    "Hodges-Lehmann, centred": lambda values: hodges_lehmann(centre(values)),
    "median, centred": lambda values: np.median(centre(values), axis=1),
    "lower third, centred": lambda values: np.quantile(centre(values), 1 / 3, axis=1),
    "quickest quarter, centred": lambda values: quickest_quarter(centre(values)),
    "lower third": lambda values: np.quantile(values, 1 / 3, axis=1),
    "quickest quarter": quickest_quarter,
    "quickest eighth": quickest(1 / 8),
    "quickest block": quickest(0),
}
ROUNDS = (8, 16)
SIMULATED_RUNS = 400
EFFECT, BUSY = 0.1, 0.4


def measure_scatter(waves: List[Wave], rounds: int, locate: Locate) -> float:
    """Standard deviation among the processes of a wave, all of one program."""
    variances = [
        locate(np.concatenate([w.baseline, w.contender, w.control])[:, :rounds]).var(ddof=1)
        for w in waves
    ]
    return float(np.sqrt(np.mean(variances)))


def measure_bias(locate: Locate) -> float:
    """Mean error of the log ratio on the made-up machine."""
    errors = []
    for seed in range(SIMULATED_RUNS):
        machine = Machine(effect=EFFECT, busy=BUSY, spread=0.0, seed=seed)
        times = machine.measure(machine.start(3), ROUNDS[-1] // 2)
        located = np.split(locate(np.concatenate(times)), 3)
        ratio = located[1].mean() - (located[0].mean() + located[2].mean()) / 2
        errors.append(ratio - np.log1p(EFFECT))
    return float(np.mean(errors))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path("results/verdict-quality-lower-third/comparisons.jsonl")
    parser.add_argument("store", type=Path, nargs="?", default=default)
    options = parser.parse_args()
    waves: Dict[str, List[Wave]] = defaultdict(list)
    for comparison in load_rows(options.store):
        if comparison["kind"] == "aa":
            blocks = unpack_blocks(comparison["processes"])
            waves[comparison["condition"]] += collect_waves(blocks, lambda b: b.step_time_s)
    if not waves:
        print(
            f"error: no comparison of a program with itself is stored in {options.store}; give the "
            "comparisons.jsonl of a study by verdict_quality.py",
            file=sys.stderr,
        )
        return InputError.exit_status
    cells = [
        (condition, rounds, [w for w in waves[condition] if w.baseline.shape[1] >= rounds])
        for condition in sorted(waves)
        for rounds in ROUNDS
    ]
    cells = [cell for cell in cells if cell[2]]
    print("| scatter among processes, % | "
          + " | ".join(f"{c}, {n} rounds of {len(w)} waves" for c, n, w in cells)
          + " | bias, simulated |")  # fmt: skip
    print("|---|" + "---:|" * (len(cells) + 1))
    for name, locate in LOCATIONS.items():
        scatter = [f"{100 * measure_scatter(w, n, locate):.2f}" for _, n, w in cells]
        print(f"| {name} | {' | '.join(scatter)} | {100 * measure_bias(locate):+.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
