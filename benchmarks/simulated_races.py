"""How often does a race of settings go wrong? Races on a simulated machine whose truth is known.

    python benchmarks/simulated_races.py --runs 400

A process is `spread` off its program's time and a block `noise` off its process's; the machine
drifts by 5 % from heat to heat and by 2 % from round to round. The race is the one that
`bench tune` runs (bench/tuning/contest.py), with as much time as six full heats take.
"""

from __future__ import annotations

import argparse
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from oneflow_bench.bench.config import Contender, Workload
from oneflow_bench.bench.tools.tune.contest import Contest
from oneflow_bench.bench.tools.tune.first_steps import Entrant
from oneflow_bench.bench.tools.tune.heat import Failure, HeatResult
from oneflow_bench.bench.tools.tune.race import BASE_PROCESSES, Heat

STOCK = "stock"
ROUNDS = 3
EQUAL = [f"equal-{number}" for number in range(12)]
PROCESS_S = 2.0


class SimulatedRunner:
    """Runs heats on a made-up machine. `speedups` are the true ratios to stock."""

    def __init__(
        self,
        speedups: Dict[str, float],
        spread: float = 0.01,
        noise: float = 0.03,
        seed: int = 0,
        failures: Optional[Dict[str, Failure]] = None,
        spreads: Optional[Dict[str, float]] = None,
    ) -> None:
        self.now, self.speedups, self.spread, self.noise = 0.0, speedups, spread, noise
        self.source = np.random.default_rng(seed)
        self.failures, self.spreads = failures or {}, spreads or {}
        self.fields: List[List[str]] = []  # who ran, heat by heat

    def clock(self) -> float:
        return self.now

    def run(
        self, base: Entrant, entrants: Any, seed: int, screen: Any, is_over: Any = None
    ) -> HeatResult:
        field = [entrant.name for entrant in entrants]
        self.fields.append(field)
        failed = {name: self.failures[name] for name in field if name in self.failures}
        programs = [base.name] * BASE_PROCESSES + [n for n in field if n not in failed]
        drift = self.source.normal(0, 0.05) + self.source.normal(0, 0.02, (1, ROUNDS))
        own = np.array([[self._locate(program)] for program in programs])
        blocks = self.source.normal(0, self.noise / np.sqrt(2), (len(own), ROUNDS))
        duration_s = PROCESS_S * (len(field) + BASE_PROCESSES)
        self.now += duration_s
        return HeatResult(Heat(tuple(programs), own + drift + blocks), failed, duration_s, {})

    def _locate(self, program: str) -> float:
        own = self.source.normal(0, self.spreads.get(program, self.spread))
        return float(own - np.log(self.speedups.get(program, 1.0)))


def enter(name: str) -> Entrant:
    return Entrant(name, Contender(name="eager", mode="eager", runtime="stock"), Workload())


def create_contest(runner: SimulatedRunner, places: int = 24) -> Contest:
    return Contest(runner, lambda *seen: None, runner.clock, lambda: places, PROCESS_S, seed=0)


def race(
    speedups: Dict[str, float],
    seconds: Optional[float] = None,
    families: Optional[Dict[str, str]] = None,
    places: int = 24,
    **machine: Any,
) -> Any:
    """(outcomes, runner) of a race of all of `speedups` against stock."""
    runner = SimulatedRunner(speedups, **machine)
    if seconds is None:
        seconds = 6 * PROCESS_S * (len(speedups) + BASE_PROCESSES)
    entrants = [enter(name) for name in speedups]
    contest = create_contest(runner, places)
    return contest.race(enter(STOCK), entrants, families or {}, seconds), runner


def measure_rates(
    runs: int, speedups: Dict[str, float], wrong: Callable[[Dict[str, Any]], bool], **machine: Any
) -> Dict[str, float]:
    """Shares over `runs` races, and what they cost.

    `wrong` says of a race's outcomes whether it went wrong; `found` is the share of the settings
    that are truly faster which were called so; `processes` are those of the settings, a race.
    """
    faster = [name for name, ratio in speedups.items() if ratio > 1]
    bad, found, processes = 0, 0, 0
    for seed in range(runs):
        outcomes, runner = race(speedups, seed=seed, **machine)
        bad += wrong(outcomes)
        found += sum(outcomes[name].verdict == "faster" for name in faster)
        processes += sum(map(len, runner.fields))
    return {
        "wrong": bad / runs,
        "found": found / (runs * len(faster)) if faster else float("nan"),
        "processes": processes / runs,
    }


def has_false_winner(outcomes: Dict[str, Any]) -> bool:
    """Whether one of the equal settings was called faster or slower."""
    return any(
        outcome.verdict in ("faster", "slower")
        for name, outcome in outcomes.items()
        if name in EQUAL
    )


def has_dropped_best(outcomes: Dict[str, Any]) -> bool:
    return any(
        outcomes[name].verdict in ("slower", "equivalent")
        for name in outcomes
        if name not in EQUAL and name.startswith("fast")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    equal = dict.fromkeys(EQUAL, 1.0)
    cases: List[Any] = [("12 equal", equal, has_false_winner)]
    cases += [
        (f"12 equal, one {gain} % faster", {**equal, "fast": 1 + gain / 100}, has_dropped_best)
        for gain in (3, 5, 10)
    ]
    print("| field | spread, % | wrong, % | faster found, % | processes of settings |")
    print("|---|---:|---:|---:|---:|")
    for name, speedups, wrong in cases:
        for spread in (0.005, 0.01, 0.02):
            rates = measure_rates(options.runs, speedups, wrong, spread=spread)
            found = "-" if np.isnan(rates["found"]) else f"{rates['found'] * 100:.1f}"
            print(
                f"| {name} | {spread * 100:g} | {rates['wrong'] * 100:.1f} | {found} "
                f"| {rates['processes']:.0f} |",
                flush=True,
            )
    rates = measure_rates(options.runs, equal, has_false_winner, spreads={EQUAL[0]: 0.03})
    print(
        f"| 12 equal, one with a spread of 3 % | 1 | {rates['wrong'] * 100:.1f} | - "
        f"| {rates['processes']:.0f} |"
    )


if __name__ == "__main__":
    main()
