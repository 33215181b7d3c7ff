"""Longer runs than were stored, put together from real waves: which rule and which blocks pay?

    python benchmarks/replayed_runs.py results/verdict-quality/comparisons.jsonl ...

Takes the comparisons of a program with itself that `verdict_quality.py` stored. First it prints
how much of a block's variance its neighbours explain, which a canary would see too. Then come the
components of a process estimate's variance, between processes and within one, and the blocks of
each process that they make optimal. Then it puts runs of `--budget` seconds together from the
waves of one cell, drawn without replacement, with so many rounds of each wave, and judges them as
they grow. A wave keeps its own level, and only scatter within waves is used, so waves of several
hours may stand in one run. An effect is planted by a shift of the contender's log times. The time
of a run is that of its starts and rounds, as stored.

Rules: the two process estimates of the suite alone, the median of round-centred blocks, the one of
two with the smaller standard error and the medians in agreement (the suite's), and that of three.
"""

from __future__ import annotations

import argparse
import math
import sys
from itertools import product
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from location_rules import load_cells
from study import run_main
from variance_components import (
    Sample,
    choose_rounds,
    collect_sample,
    measure_neighbours,
    split_variance,
)
from verdict_quality_cells import KINDS, SAME

from oneflow_bench.bench.config import Measuring
from oneflow_bench.bench.verdict.estimate import (
    MEDIAN,
    PROCESS_ESTIMATES,
    QUICKEST_QUARTER,
    ProcessEstimate,
    Wave,
    estimate_speedup,
)
from oneflow_bench.bench.verdict.judge import (
    EQUIVALENT,
    INCONCLUSIVE,
    SLOWER,
    Interval,
    Margins,
    decide,
    doubt_medians,
    form_interval,
    is_analysis_due,
)

CENTRED = "round-centred median"
ESTIMATES: Dict[str, ProcessEstimate] = {
    **PROCESS_ESTIMATES,
    CENTRED: lambda values: np.median(values - np.median(values, axis=-2, keepdims=True), axis=-1),
}
RULES: Dict[str, Tuple[str, ...]] = {
    QUICKEST_QUARTER: (QUICKEST_QUARTER,),
    MEDIAN: (MEDIAN,),
    CENTRED: (CENTRED,),
    "smaller error of two": (QUICKEST_QUARTER, MEDIAN),
    "smaller error of three": (QUICKEST_QUARTER, MEDIAN, CENTRED),
}
ROUNDS = (8, 12, 16)
EFFECTS = (0.0, 0.03, 0.05)
FEWEST_WAVES = 20  # that runs are drawn from


Cell = Tuple[str, Sample]  # with its name


def collect_cells(stores: Sequence[Path]) -> List[Cell]:
    """A cell for each kind and condition of each store. Raises InputError for an empty store."""
    return [
        (f"{store.parent.name}: {KINDS[kind]}, {condition}", collect_sample(rows))
        for store in stores
        for (kind, condition), rows in load_cells(store).items()
        if kind in SAME
    ]


def print_components(cells: Sequence[Cell], rounds: int) -> None:
    print(f"\nStandard deviations among equal processes after {rounds} rounds, in percent, and the")
    print("rounds of each wave that give the smallest variance in a given time:\n")
    print("| | waves | start of a wave, s | round, s | summarised by | all | between | within "
          "| optimal rounds |")  # fmt: skip
    print("|---|---:|---:|---:|---|---:|---:|---:|---:|")
    for title, cell in cells:
        waves = cell.keep(rounds).cut(rounds)
        if not waves:
            continue
        for name, summarise in ESTIMATES.items():
            between, within = split_variance(waves, summarise)
            shown = [f"{100 * math.sqrt(v):.2f}" for v in (between + within, between, within)]
            wanted = choose_rounds(between, within, cell, rounds)
            best = "all" if math.isinf(wanted) else f"{wanted:.0f}"
            print(f"| {title} | {len(waves)} | {cell.start_s:.1f} | {cell.round_s:.2f} "
                  f"| {name} | {' | '.join(shown)} | {best} |")  # fmt: skip


def judge_by(names: Sequence[str], waves: Sequence[Wave], analyses: int) -> Tuple[str, Interval]:
    """(verdict, interval) by the process estimate with the smallest standard error."""
    estimates = {name: estimate_speedup(waves, ESTIMATES[name]) for name in names}
    best = min(names, key=lambda name: estimates[name].std_error or math.inf)
    interval = form_interval(estimates[best], analyses)
    verdict, _ = decide(interval, Margins())
    if MEDIAN in names and doubt_medians(verdict, estimates, Margins()):
        verdict = INCONCLUSIVE
    return verdict, interval


def replay(
    cell: Sample,
    rounds: int,
    effect: float,
    names: Sequence[str],
    budget_s: float,
    source: np.random.Generator,
) -> Tuple[str, bool, float]:
    """(verdict, whether the interval holds the truth, seconds) of one run."""
    kept = cell.cut(rounds)
    wave_s = cell.start_s + rounds * cell.round_s
    count = min(len(kept), max(1, int(budget_s / wave_s)))
    shift = math.log1p(effect)
    drawn = [kept[i] for i in source.choice(len(kept), count, replace=False)]
    waves = [Wave(w.baseline, w.contender + shift, w.control) for w in drawn]
    analyses = seen = 0
    found: Optional[Tuple[str, Interval]] = None
    for done in range(1, count + 1):
        if done == count or is_analysis_due(done, seen):
            analyses, seen = analyses + 1, done
            found = judge_by(names, waves[:done], analyses)
            if found[0] != INCONCLUSIVE:
                break
    assert found is not None
    return found[0], found[1].holds(1 / (1 + effect)), done * wave_s


def print_replays(cells: Sequence[Cell], runs: int, budget_s: float) -> None:
    print(f"\nOf {runs} runs of at most {budget_s:g} s each, in percent:\n")
    print("| | rounds | rule | called different | equivalent | covered | +3 % found "
          "| +5 % found | median s, the same |")  # fmt: skip
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|")
    for title, whole in cells:
        # the same waves for all rows of a cell: those with more rounds ran on a quicker machine
        most = max(n for n in ROUNDS if len(whole.keep(n).waves) >= FEWEST_WAVES)
        cell = whole.keep(most)
        for rounds, (rule, names) in product(ROUNDS, RULES.items()):
            if rounds <= most:
                row = _summarize(cell, rounds, names, runs, budget_s)
                print(f"| {title} | {rounds} | {rule} | {' | '.join(row)} |", flush=True)


def _summarize(
    cell: Sample, rounds: int, names: Sequence[str], runs: int, budget_s: float
) -> List[str]:
    source = np.random.default_rng(0)  # the same draws for each rule
    results = {
        effect: [replay(cell, rounds, effect, names, budget_s, source) for _ in range(runs)]
        for effect in EFFECTS
    }
    same = [verdict for verdict, _, _ in results[0.0]]
    held = [holds for result in results.values() for _, holds, _ in result]
    shares = [
        np.mean([v not in (EQUIVALENT, INCONCLUSIVE) for v in same]),
        np.mean([v == EQUIVALENT for v in same]),
        np.mean(held),
        *(np.mean([v == SLOWER for v, _, _ in results[effect]]) for effect in EFFECTS[1:]),
    ]
    return [
        *(f"{share * 100:.1f}" for share in shares),
        f"{np.median([seconds for _, _, seconds in results[0.0]]):.0f}",
    ]


def print_neighbours(stores: Sequence[Path]) -> None:
    print("\nA canary between turns would see what neighbouring blocks see:\n")
    print("| | share of a block's variance that its neighbours explain, % |")
    print("|---|---:|")
    for store in stores:
        for (kind, condition), rows in load_cells(store).items():
            if kind in SAME:
                title = f"{store.parent.name}: {KINDS[kind]}, {condition}"
                print(f"| {title} | {100 * measure_neighbours(rows):.0f} |")


def study(options: argparse.Namespace) -> None:
    print_neighbours(options.stores)
    cells = collect_cells(options.stores)
    print_components(cells, options.rounds)
    print_replays(cells, options.runs, options.budget)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", type=Path, nargs="+", help="comparisons.jsonl of a study")
    parser.add_argument("--runs", type=int, default=200, help="runs of each row and effect")
    parser.add_argument("--rounds", type=int, default=12, help="of the components")
    parser.add_argument("--budget", type=float, default=Measuring().budget_s)
    options = parser.parse_args()
    return run_main(lambda: study(options))


if __name__ == "__main__":
    sys.exit(main())
