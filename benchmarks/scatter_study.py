"""Does pooling what is known of the scatter pay? Rules for the error of a speedup, on samples.

    python benchmarks/scatter_study.py results/verdict-quality/comparisons.jsonl ...

An interval of three processes a side has few degrees of freedom, so its quantile is large. The
rules of `scatter_rules.py` judge stored waves of equal programs, with the roles of the nine
processes drawn anew; mixed ones, of which eager mode is the baseline and graph mode the contender;
and simulated machines whose two sides scatter alike, or not. Time is that of starts and blocks.

Of a mixed wave the truth is not known, but its error is: that of the mean of six equal processes
is, but for its scale, the difference to the three others, which their own scatter does not know.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np
from replayed_runs import collect_cells
from scatter_rules import ESTIMATES, RULES, Sample, run_all
from scipy.signal import lfilter
from simulated_verdicts import Machine
from study import run_main

from oneflow_bench.bench.verdict.estimate import MEDIAN
from oneflow_bench.bench.verdict.judge import EQUIVALENT, FASTER, SLOWER

SHAPE = (3, 12)  # processes of a role, rounds
LABELLINGS, MIXED = 5, 400  # of a stored wave; runs
START_S, BLOCK_S = 1.1, 0.05  # of a simulated process
EFFECT = 0.03
MACHINES = {
    "alike, 0.5 %": {"spread": 0.005},
    "alike, 2 %": {"spread": 0.02},
    "busy": {"spread": 0.01, "busy": 0.4},
    "heavy tails": {"spread": 0.01, "heavy": 1.0},
    "two speeds": {"spread": 0.005, "two_speeds_s": 0.5},
    "contender 1.4 times": {"spread": 0.02, "contender": 1.4},
    "contender twice": {"spread": 0.015, "contender": 2.0},
    "contender half": {"spread": 0.02, "contender": 0.5},
}  # of `simulate`


def collect(waves: np.ndarray, wave_s: float) -> Sample:
    """From log step times (runs, waves, roles, processes, rounds)."""
    pairs = waves.shape[-1] // 2
    values, within = {}, {}
    for name, summarise in ESTIMATES.items():
        values[name] = summarise(waves)
        left_out = [summarise(np.delete(waves, [2 * i, 2 * i + 1], axis=-1)) for i in range(pairs)]
        within[name] = np.var(left_out, axis=0) * (pairs - 1)
    return Sample(values, within, wave_s)


def draw_stored(stores: Sequence[Path]) -> Dict[str, Sample]:
    """A sample for each cell of equal programs, and mixed ones of eager and graph mode."""
    source, drawn = np.random.default_rng(0), {}
    for title, cell in collect_cells(stores):
        waves = [wave.stack() for wave in cell.cut(SHAPE[1]) if wave.baseline.shape == SHAPE]
        labelled = [source.permutation(w) for w in waves for _ in range(LABELLINGS)]
        stacked = np.array(labelled).reshape(-1, 1, 3, *SHAPE)
        drawn[title] = collect(stacked, cell.start_s + SHAPE[1] * cell.round_s)
    for title in [name for name in drawn if "graph" in name]:
        eager = drawn[title.replace("graph", "eager")]
        drawn[title.replace("the same, graph", "eager against graph")] = _mix(
            eager, drawn[title], source
        )
    return drawn


def _mix(eager: Sample, graph: Sample, source: np.random.Generator) -> Sample:
    ours, theirs = (source.integers(len(s.values[MEDIAN]), size=MIXED) for s in (eager, graph))
    values, within = {}, {}
    for name in ESTIMATES:
        left, right = eager.values[name][ours], graph.values[name][theirs]
        six, three = (left[:, :, 0] + left[:, :, 2]) / 2, right[:, :, 1]
        errors = [
            (six.mean(-1) - left[:, :, 1].mean(-1)) / np.sqrt(3),
            (three.mean(-1) - (right[:, :, 0] + right[:, :, 2]).mean(-1) / 2) * np.sqrt(2 / 3),
        ]
        level = six.mean(-1) - errors[0]
        mixed = left - level[..., None, None]
        mixed[:, :, 1] = three + (errors[1] - three.mean(-1))[..., None]
        values[name] = mixed
        within[name] = eager.within[name][ours].copy()
        within[name][:, :, 1] = graph.within[name][theirs][:, :, 1]
    return Sample(values, within, graph.wave_s)


def simulate(
    runs: int,
    spread: float,
    replicates: int = 3,
    contender: float = 1.0,
    busy: float = 0.0,
    heavy: float = 0.0,
    two_speeds_s: float = 0.0,
    budget_s: float = 68.0,
    rounds: int = 16,
) -> Sample:
    """As `Machine`, all runs at once; its contender scatters so many times as much."""
    machine, source = Machine(), np.random.default_rng(0)
    processes = 3 * replicates
    wave_s = processes * (START_S + rounds * BLOCK_S)
    shape = (runs, round(budget_s / wave_s), 3, replicates, rounds)

    def draw(*size: int) -> np.ndarray:
        return source.standard_t(3, size) / np.sqrt(3) if heavy else source.normal(size=size)

    own = spread / np.sqrt(2) * draw(*shape[:4])
    own[:, :, 1] *= contender
    keep = np.exp(-BLOCK_S / machine.drift_time_s)
    turns = (*shape[:2], rounds * processes)
    kicks = source.normal(0, machine.drift * np.sqrt(1 - keep**2), turns)
    kicks[..., 0] = source.normal(0, machine.drift, turns[:2])
    path = lfilter([1], [1, -keep], kicks)
    bursts = source.binomial(machine.block_steps, machine.burst_chance, turns)
    path += np.log1p(machine.burst * bursts / machine.block_steps)
    path += np.log1p((source.random(turns) < busy) * source.exponential(machine.busy_mean, turns))
    if two_speeds_s:
        switches = source.random(turns) < 1 - np.exp(-BLOCK_S / two_speeds_s)
        slow = (switches.cumsum(-1) + source.integers(0, 2, (*turns[:2], 1))) % 2
        path += np.log(1.45) * slow
    orders = np.argsort(source.random((*shape[:2], rounds // 2, processes)), -1)
    orders = np.stack([orders, orders[..., ::-1]], 3).reshape(*shape[:2], rounds, processes)
    times = np.empty(orders.shape)
    np.put_along_axis(times, orders, path.reshape(times.shape), -1)
    blocks = np.moveaxis(times, 2, -1).reshape(shape) + machine.noise * draw(*shape)
    return collect(blocks + own[..., None], wave_s)


def print_table(samples: Dict[str, Sample]) -> None:
    print("| | runs | rule | covered, the same | called different | equivalent | covered, +3 % "
          "| +3 % found | mean s, +3 % |")  # fmt: skip
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|")
    for title, sample in samples.items():
        for name, (rule, alpha) in RULES.items():
            row: List[float] = []
            for effect in (0.0, EFFECT):
                verdicts, ratios, halves, seconds = run_all(sample.plant(effect), rule, alpha)
                row.append(100 * np.mean(np.abs(ratios + np.log1p(effect)) <= halves))
                shares = [100 * np.mean(verdicts == v) for v in (FASTER, SLOWER, EQUIVALENT)]
                row += [shares[1], np.mean(seconds)] if effect else [sum(shares[:2]), shares[2]]
            shown = f"{row[0]:.1f} | {row[1]:.2f} | {row[2]:.1f} | {row[3]:.1f} | {row[4]:.1f}"
            print(f"| {title} | {len(verdicts)} | {name} | {shown} | {row[5]:.1f} |", flush=True)


def study(options: argparse.Namespace) -> None:
    print(f"Stored waves of {SHAPE[1]} rounds, one a run, in percent:\n")
    print_table(draw_stored(options.stores))
    print(f"\nSimulated, {options.replicates} replicates a wave, in percent:\n")
    for name, fields in MACHINES.items():
        print_table({name: simulate(options.runs, replicates=options.replicates, **fields)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", type=Path, nargs="+", help="comparisons.jsonl of a study")
    parser.add_argument("--runs", type=int, default=2000, help="simulated runs of each machine")
    parser.add_argument("--replicates", type=int, default=3, help="of a simulated wave")
    options = parser.parse_args()
    return run_main(lambda: study(options))


if __name__ == "__main__":
    sys.exit(main())
