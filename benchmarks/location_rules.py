"""What the verdict's choice of a process estimate is worth: its parts, one after the other.

    python benchmarks/location_rules.py results/verdict-quality-lower-third/comparisons.jsonl ...
    python benchmarks/location_rules.py --runs 1000

Judges stored comparisons of `verdict_quality.py`, or runs on a simulated machine, by the quickest
quarter alone, by the median alone, by the one with the smaller standard error, by that less where
both are certain to differ, and by the whole rule, which also asks the median of what it calls.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from simulated_verdicts import Rule, measure_rates
from study import load_rows, run_main
from verdict_quality_cells import CALLED, SAME, group_cells, measure_truth, unpack_blocks

from oneflow_bench.bench.errors import InputError
from oneflow_bench.bench.verdict.estimate import MEDIAN, QUICKEST_QUARTER, Wave
from oneflow_bench.bench.verdict.judge import (
    FASTER,
    SLOWER,
    Judgement,
    Margins,
    choose_process_estimate,
    estimate_each_way,
    judge,
    judge_at,
)
from oneflow_bench.bench.verdict.summary import collect_waves


def at(process_estimate: str) -> Rule:
    """Always that process estimate."""

    def rule(waves: Sequence[Wave], analyses: int, margins: Optional[Margins] = None) -> Judgement:
        return judge_at(
            process_estimate, waves, estimate_each_way(waves), analyses, margins or Margins()
        )

    return rule


def at_smaller_error(
    waves: Sequence[Wave], analyses: int, margins: Optional[Margins] = None
) -> Judgement:
    estimates = estimate_each_way(waves)
    process_estimate = min(estimates, key=lambda name: estimates[name].std_error or 0.0)
    return judge_at(process_estimate, waves, estimates, analyses, margins or Margins())


def at_chosen(waves: Sequence[Wave], analyses: int, margins: Optional[Margins] = None) -> Judgement:
    estimates = estimate_each_way(waves)
    process_estimate = choose_process_estimate(waves, estimates, analyses)
    return judge_at(process_estimate, waves, estimates, analyses, margins or Margins())


RULES: Dict[str, Rule] = {
    "quickest quarter": at(QUICKEST_QUARTER),
    "median": at(MEDIAN),
    "smaller error": at_smaller_error,
    "the median where they differ": at_chosen,
    "the median must agree": judge,
}
MACHINES: Dict[str, Dict[str, float]] = {
    "quiet": {"noise": 0.03, "spread": 0.005},
    "processes differ by 2 %": {"noise": 0.03, "spread": 0.02},
    "noise of 10 %": {"noise": 0.1, "spread": 0.01},
    "noise of 15 %": {"noise": 0.15, "spread": 0.01},
    "busy": {"noise": 0.03, "spread": 0.01, "busy": 0.4},
    "lucky": {"noise": 0.03, "spread": 0.005, "lucky": 0.05},
    "lucky and busy": {"noise": 0.03, "spread": 0.01, "busy": 0.4, "lucky": 0.05},
}
EFFECTS = (0.0, 0.03)


def load_cells(store: Path) -> Dict[Tuple[str, str], List[Dict[str, Any]]]:
    """(kind, condition) -> its comparisons. Raises InputError where none is stored."""
    rows = load_rows(store)
    if not rows:
        raise InputError(
            f"no comparison is stored in {store}; give the comparisons.jsonl of a study by "
            "verdict_quality.py"
        )
    return group_cells(rows)


def print_stored(stores: Sequence[Path]) -> None:
    """Verdicts on stored comparisons; the truth of each cell is what its processes measured."""
    counts: Dict[str, Dict[str, int]] = {name: Counter() for name in RULES}
    cells = [cell for store in stores for cell in load_cells(store).items()]
    for (kind, _), mine in cells:
        true_ratio = math.exp(-measure_truth(mine)[0])
        side, wanted = ("same", CALLED) if kind in SAME else ("planted", (SLOWER,))
        for row in mine:
            waves = collect_waves(unpack_blocks(row["processes"]), lambda b: b.step_time_s)
            for name, rule in RULES.items():
                judgement, count = rule(waves, row["looks"], None), counts[name]
                count[side] += 1
                count[f"{side} called"] += judgement.verdict in wanted
                count["covered"] += judgement.speedup.holds(true_ratio)
    print("| rule | of the same, called different | of planted, found | interval holds the truth |")
    print("|---|---:|---:|---:|")
    for name, count in counts.items():
        print(f"| {name} | {count['same called']} of {count['same']} "
              f"| {count['planted called']} of {count['planted']} "
              f"| {count['covered']} of {count['same'] + count['planted']} |")  # fmt: skip


def print_simulated(runs: int) -> None:
    """Per rule and machine: wrongly called, and right verdicts, in percent of the runs."""
    print(f"% of {runs} runs each: called different by mistake, then called equivalent; with 3 %")
    print("planted: called faster, then found slower")
    print("| rule | " + " | ".join(MACHINES) + " |")
    print("|---|" + "---:|" * len(MACHINES))
    for name, rule in RULES.items():
        values = []
        for fields in MACHINES.values():
            even, slower = (
                measure_rates(runs, rule=rule, effect=effect, **fields) for effect in EFFECTS
            )
            wrong, right = even[FASTER] + even[SLOWER], even["equivalent"]
            values.append(
                f"{wrong * 100:.1f}, {right * 100:.0f}; "
                f"{slower[FASTER] * 100:.1f}, {slower[SLOWER] * 100:.0f}"
            )
        print(f"| {name} | " + " | ".join(values) + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", type=Path, nargs="*", help="comparisons.jsonl; default: simulate")
    parser.add_argument("--runs", type=int, default=400, help="simulated runs of each machine")
    options = parser.parse_args()
    if options.stores:
        return run_main(lambda: print_stored(options.stores))
    return run_main(lambda: print_simulated(options.runs))


if __name__ == "__main__":
    sys.exit(main())
