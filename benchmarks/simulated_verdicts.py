"""A machine whose truth is known: drift, noise, bursts, and processes that differ.

    python benchmarks/simulated_verdicts.py --runs 400

prints the error rates of the verdict on it. Step times follow exp(drift + process + noise), with an
AR(1) drift common to all processes, bursts of +35 % on 1 % of the steps, and a spread among the
processes of one program. Time is counted in seconds of blocks, and of starts with `--start`. `run`
is the measuring run with the machine in place of worker processes. `--continued 3` goes on with a
run that ended without a verdict, up to three times, as `bench compare --continue` does. With
`--lucky 0.05` the contender's own steps vary: a twentieth of its blocks is 14 % quicker, which the
planted effect does not count.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import numpy as np
from scipy.signal import lfilter

from oneflow_bench.bench.config import Measuring
from oneflow_bench.bench.measure.speed_phase import ALIVE_REPLICATES
from oneflow_bench.bench.verdict.estimate import Wave
from oneflow_bench.bench.verdict.judge import (
    EQUIVALENT,
    FASTER,
    INCONCLUSIVE,
    SLOWER,
    Judgement,
    Margins,
    is_analysis_due,
    judge,
)
from oneflow_bench.bench.verdict.stopping import (
    START_FRESH,
    STOP,
    choose_first_abba_pairs,
    next_action,
)

VERDICTS = (FASTER, SLOWER, EQUIVALENT, INCONCLUSIVE)
Rule = Callable[[Sequence[Wave], int, Optional[Margins]], Judgement]


@dataclass
class Machine:
    """`spread` is the standard deviation of a replicate's log ratio that processes cause."""

    effect: float = 0.0  # the contender takes that much longer, relative
    spread: float = 0.01
    drift: float = 0.05  # standard deviation of the AR(1) drift
    drift_time_s: float = 20.0
    noise: float = 0.03  # of a block
    burst: float = 0.35
    burst_chance: float = 0.01  # of a step
    busy: float = 0.0  # share of the blocks that another process takes a core from
    busy_mean: float = 0.3  # what that adds to a block on average, exponentially distributed
    lucky: float = 0.0  # share of the contender's blocks that are quicker by themselves
    lucky_gain: float = 0.14  # by how much of their time
    block_s: float = 0.06
    block_steps: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        self.source = np.random.default_rng(self.seed)
        self._drift_now = self.source.normal(0, self.drift)

    def start(self, replicates: int) -> np.ndarray:
        """Log step times (3, replicates) of fresh processes: baseline, contender, control."""
        own = self.source.normal(0, self.spread / np.sqrt(2), (3, replicates))
        own[1] += np.log1p(self.effect)
        return own

    def measure(self, processes: np.ndarray, abba_pairs: int) -> np.ndarray:
        """(3, replicates, rounds) log step times; every second round is the one before reversed."""
        count = processes.size
        orders = [self.source.permutation(count) for _ in range(abba_pairs)]
        who = np.concatenate([np.concatenate([o, o[::-1]]) for o in orders])
        times = processes.ravel()[who] + self._drift_path(len(who))
        times += self.source.normal(0, self.noise, len(who))
        bursts = self.source.binomial(self.block_steps, self.burst_chance, len(who))
        times += np.log1p(self.burst * bursts / self.block_steps)
        busy = self.source.random(len(who)) < self.busy
        times += np.log1p(busy * self.source.exponential(self.busy_mean, len(who)))
        lucky = (who // processes.shape[1] == 1) & (self.source.random(len(who)) < self.lucky)
        times += np.log1p(-self.lucky_gain * lucky)
        result = np.zeros((count, 2 * abba_pairs))
        result[who, np.repeat(np.arange(2 * abba_pairs), count)] = times
        return result.reshape(*processes.shape, 2 * abba_pairs)

    def _drift_path(self, blocks: int) -> np.ndarray:
        keep = np.exp(-self.block_s / self.drift_time_s)
        kicks = self.source.normal(0, self.drift * np.sqrt(1 - keep**2), blocks)
        path, _ = lfilter([1], [1, -keep], kicks, zi=[keep * self._drift_now])
        self._drift_now = path[-1]
        return np.asarray(path)


def run(
    machine: Machine,
    budget_s: float = 120.0,
    per_wave: int = ALIVE_REPLICATES,
    aims: Optional[Measuring] = None,
    margins: Optional[Margins] = None,
    rule: Rule = judge,
    continued: int = 0,
    start_s: float = 0.0,
    longer: bool = False,
) -> Tuple[Judgement, float]:
    """The last judgement and the seconds it took: blocks, and `start_s` for each process.

    `longer` is the plan up to 0.3.0: the first wave is measured longer where twice the blocks save
    more of the variance than they cost of a wave's time.
    Without a verdict at its end it is `continued` so many times, each for `budget_s` more.
    """
    end_s, continuations = budget_s, continued
    aims = aims or Measuring(replicates=99)
    cost = 2 * 3 * per_wave * machine.block_s  # of an ABBA pair
    wave_start_s = 3 * per_wave * start_s
    processes = machine.start(per_wave)
    first = choose_first_abba_pairs(cost)
    waves = [machine.measure(processes, first)]
    spent, analyses, seen = wave_start_s + first * cost, 0, 0
    action = START_FRESH
    while True:
        data = sum(w.shape[1] * w.shape[2] for w in waves)
        rounds = waves[0].shape[2] // 2
        fewest = max(2, rounds // 2)
        last = end_s - spent < fewest * cost
        fit = min(rounds, int((end_s - spent - wave_start_s) / cost))
        fresh = fit >= fewest
        if last or not fresh or is_analysis_due(data, seen):
            analyses, seen = analyses + 1, data
            judgement = rule([Wave(w[0], w[1], w[2]) for w in waves], analyses, margins)
            action = next_action(judgement, aims)
        if last and continuations and judgement.verdict == INCONCLUSIVE:
            continuations, end_s = continuations - 1, spent + budget_s
            fit, fresh, action = rounds, True, START_FRESH
        elif last or action == STOP:
            return judgement, spent
        share = rounds * cost / (rounds * cost + wave_start_s)
        more = longer and len(waves) == 1 and (judgement.within_share or 0.0) / 2 > share
        if fresh and not more:
            processes = machine.start(per_wave)
            waves.append(machine.measure(processes, fit))
            spent += wave_start_s + fit * cost
        else:
            rest = min(rounds if more else sys.maxsize, int((end_s - spent) / cost))
            waves.append(np.concatenate([waves.pop(), machine.measure(processes, rest)], axis=2))
            spent += rest * cost


def measure_rates(
    runs: int,
    budget_s: float = 120.0,
    rule: Rule = judge,
    continued: int = 0,
    per_wave: int = ALIVE_REPLICATES,
    start_s: float = 0.0,
    longer: bool = False,
    **machine: Any,
) -> Dict[str, float]:
    """Shares of the verdicts and of the intervals that hold the truth; median seconds."""
    verdicts: Dict[str, int] = Counter()
    covered, times = 0, []
    for seed in range(runs):
        truth = Machine(seed=seed, **machine)
        judgement, spent = run(
            truth,
            budget_s,
            per_wave,
            rule=rule,
            continued=continued,
            start_s=start_s,
            longer=longer,
        )
        verdicts[judgement.verdict] += 1
        covered += judgement.speedup.holds(1 / (1 + truth.effect))
        times.append(spent)
    shares = {verdict: verdicts[verdict] / runs for verdict in VERDICTS}
    return {**shares, "coverage": covered / runs, "median_s": float(np.median(times))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.03, 0.1])
    parser.add_argument("--spread", type=float, nargs="+", default=[0.0, 0.005, 0.01, 0.02])
    parser.add_argument("--effect", type=float, nargs="+", default=[0.0, 0.03, 0.05, 0.1])
    parser.add_argument("--busy", type=float, default=0.0, help="share of disturbed blocks")
    parser.add_argument("--lucky", type=float, default=0.0, help="share of the contender's blocks")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds of blocks and starts")
    parser.add_argument("--block", type=float, default=Machine.block_s, help="seconds of a block")
    parser.add_argument("--start", type=float, default=0.0, help="seconds to start a process")
    parser.add_argument("--longer", action="store_true", help="as up to 0.3.0")
    parser.add_argument("--replicates", type=int, default=ALIVE_REPLICATES, help="of a wave")
    parser.add_argument("--continued", type=int, default=0, help="times, without a verdict")
    options = parser.parse_args()
    print(f"{options.runs} runs each, block noise / spread / effect in percent, rates in percent")
    print(f"{'noise':>5} {'spread':>6} {'effect':>6} | {' '.join(f'{v:>12}' for v in VERDICTS)} "
          f"{'coverage':>8} {'median s':>8}")  # fmt: skip
    for noise in options.noise:
        for spread in options.spread:
            for effect in options.effect:
                rates = measure_rates(
                    options.runs,
                    options.budget,
                    continued=options.continued,
                    per_wave=options.replicates,
                    start_s=options.start,
                    longer=options.longer,
                    noise=noise,
                    spread=spread,
                    effect=effect,
                    busy=options.busy,
                    block_s=options.block,
                    lucky=options.lucky,
                )
                shares = " ".join(f"{rates[v] * 100:12.1f}" for v in VERDICTS)
                print(
                    f"{noise * 100:5g} {spread * 100:6g} {effect * 100:6g} | {shares} "
                    f"{rates['coverage'] * 100:8.1f} {rates['median_s']:8.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
