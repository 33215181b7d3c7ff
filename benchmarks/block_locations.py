"""How much processes of one program scatter, by the number that is taken to stand for their blocks.

    python benchmarks/block_locations.py [results/verdict-quality/comparisons.jsonl]
    python benchmarks/block_locations.py --record results/example    # and of a run's contender

Reads the comparisons of a program with itself that `verdict_quality.py` stored, and takes the first
rounds of each wave: their blocks, as they are or less the median of their round (centred), are
summarised in several ways. The less a process estimate scatters, the less a comparison must
measure. Also printed is its bias on two made-up machines, where the contender takes 10 % longer:
on one other work takes time from 40 % of the blocks, on the other a twentieth of the contender's
blocks is 14 % quicker by itself.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import Dict, List

import numpy as np
from simulated_verdicts import Machine
from study import load_rows, run_main
from verdict_quality_cells import SAME, unpack_blocks

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.record.events import SpeedBlockEvent
from oneflow_bench.bench.record.run import load_record
from oneflow_bench.bench.verdict.estimate import ProcessEstimate, mean, median, quickest_quarter
from oneflow_bench.bench.verdict.summary import collect_waves, select_contender


def centre(values: np.ndarray) -> np.ndarray:
    """Values (processes, rounds) less the median of their round."""
    return np.asarray(values - np.median(values, axis=0, keepdims=True))


def hodges_lehmann(values: np.ndarray) -> np.ndarray:
    """Median of the averages of all pairs, with themselves, along the last axis."""
    left, right = np.triu_indices(values.shape[-1])
    return np.asarray(np.median((values[..., left] + values[..., right]) / 2, axis=-1))


def quickest(share: float) -> ProcessEstimate:
    """The mean of the quickest blocks, one at least."""

    def summarise(values: np.ndarray) -> np.ndarray:
        count = max(1, round(share * values.shape[1]))
        return np.asarray(np.sort(values, axis=1)[:, :count].mean(axis=1))

    return summarise


PROCESS_ESTIMATES: Dict[str, ProcessEstimate] = {
    "mean": mean,
    "Hodges-Lehmann, centred": lambda values: hodges_lehmann(centre(values)),
    "median, centred": lambda values: np.median(centre(values), axis=1),
    "lower third, centred": lambda values: np.quantile(centre(values), 1 / 3, axis=1),
    "quickest quarter, centred": lambda values: quickest_quarter(centre(values)),
    "lower third": lambda values: np.quantile(values, 1 / 3, axis=1),
    "median": median,
    "quickest quarter": quickest_quarter,
    "quickest eighth": quickest(1 / 8),
    "quickest block": quickest(0),
}
ROUNDS = (8, 16)
SIMULATED_RUNS = 400
EFFECT = 0.1
MACHINES: Dict[str, Dict[str, float]] = {"busy": {"busy": 0.4}, "lucky": {"lucky": 0.05}}


def measure_scatter(groups: List[np.ndarray], rounds: int, summarise: ProcessEstimate) -> float:
    """Standard deviation among processes of one program; a group (processes, rounds) for a wave."""
    variances = [summarise(group[:, :rounds]).var(ddof=1) for group in groups]
    return float(np.sqrt(np.mean(variances)))


def measure_bias(summarise: ProcessEstimate, **machine_fields: float) -> float:
    """Mean error of the log ratio on a made-up machine."""
    errors = []
    for seed in range(SIMULATED_RUNS):
        machine = Machine(effect=EFFECT, spread=0.0, seed=seed, **machine_fields)
        times = machine.measure(machine.start(3), ROUNDS[-1] // 2)
        summaries = np.split(summarise(np.concatenate(times)), 3)
        ratio = summaries[1].mean() - (summaries[0].mean() + summaries[2].mean()) / 2
        errors.append(ratio - np.log1p(EFFECT))
    return float(np.mean(errors))


def collect_groups(store: Path) -> Dict[str, List[np.ndarray]]:
    """Log step times (processes, rounds) of each wave of programs with themselves, by the cell."""
    groups: Dict[str, List[np.ndarray]] = defaultdict(list)
    for comparison in load_rows(store):
        if comparison["kind"] in SAME:
            blocks = unpack_blocks(comparison["processes"])
            cell = f"{comparison['mode']}, {comparison['condition']}"
            groups[cell] += [
                np.concatenate([w.baseline, w.contender, w.control])
                for w in collect_waves(blocks, lambda b: b.step_time_s)
            ]
    return groups


def collect_contender(folder: Path) -> Dict[str, List[np.ndarray]]:
    """The same of the contender's processes of a stored run."""
    record = load_record(folder)
    name = record.document.racing[-1].name
    blocks = [e for e in select_contender(record.events, name) if isinstance(e, SpeedBlockEvent)]
    waves = collect_waves(blocks, lambda b: b.step_time_s)
    return {f"{record.document.workload.model}, {name}": [w.contender for w in waves]}


def print_table(groups: Dict[str, List[np.ndarray]]) -> None:
    cells = [
        (name, rounds, [g for g in groups[name] if g.shape[1] >= rounds])
        for name in sorted(groups)
        for rounds in ROUNDS
    ]
    cells = [cell for cell in cells if cell[2]]
    print("| scatter among processes, % | "
          + " | ".join(f"{c}: {n} rounds of {len(w)} waves" for c, n, w in cells)
          + " | " + " | ".join(f"bias, {m}" for m in MACHINES) + " |")  # fmt: skip
    print("|---|" + "---:|" * (len(cells) + len(MACHINES)))
    for name, summarise in PROCESS_ESTIMATES.items():
        row = [f"{100 * measure_scatter(w, n, summarise):.2f}" for _, n, w in cells]
        row += [f"{100 * measure_bias(summarise, **fields):+.2f}" for fields in MACHINES.values()]
        print(f"| {name} | {' | '.join(row)} |")


def study(options: argparse.Namespace) -> None:
    groups = collect_groups(options.store)
    if not groups:
        raise InputError(
            f"no comparison of a program with itself is stored in {options.store}; give the "
            "comparisons.jsonl of a study by verdict_quality.py"
        )
    if options.record:
        groups.update(collect_contender(options.record))
    print_table(groups)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path("results/verdict-quality/comparisons.jsonl")
    parser.add_argument("store", type=Path, nargs="?", default=default)
    parser.add_argument("--record", type=Path, help="folder of a run, whose contender is looked at")
    options = parser.parse_args()
    return run_main(lambda: study(options))


if __name__ == "__main__":
    sys.exit(main())
