"""Between and within processes: where the variance of stored comparisons comes from.

The time of a run is that of its starts and its rounds. Both are read off stored comparisons, and so
are the components. They give the rounds that shrink the error most in a given time (Kalibera and
Jones, ISMM 2013), and the time of an oracle: it knows the components, starts as many processes and
measures as many rounds as are optimal, and looks once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, List, Mapping, Sequence, Tuple

import numpy as np
from scipy.stats import norm
from verdict_quality_cells import unpack_blocks

from oneflow_bench.bench.config import Measuring
from oneflow_bench.bench.verdict.estimate import PROCESS_ESTIMATES, ProcessEstimate, Wave
from oneflow_bench.bench.verdict.statistics import CONFIDENCE, POWER, correlation
from oneflow_bench.bench.verdict.summary import collect_waves

REPLICATES = 3  # of a stored wave, three processes each
REPLICATE_VARIANCES = 1.5  # of a process in a replicate's log ratio: half of the two, and one
MOST_ROUNDS = 2000
CLIPPED = 0.3


@dataclass(frozen=True)
class Sample:
    """Waves of one kind of comparison under one condition, and what they cost. Seconds."""

    waves: List[Wave]
    start_s: float  # of a wave
    round_s: float

    def keep(self, rounds: int) -> Sample:
        """The waves that have so many rounds."""
        return replace(self, waves=[w for w in self.waves if w.baseline.shape[1] >= rounds])

    @property
    def usual_rounds(self) -> int:
        """The most rounds, an even number, that half of the waves have."""
        return int(median(wave.baseline.shape[1] for wave in self.waves)) // 2 * 2

    def cut(self, rounds: int) -> List[Wave]:
        """The first rounds of each wave."""
        return [
            Wave(w.baseline[:, :rounds], w.contender[:, :rounds], w.control[:, :rounds])
            for w in self.waves
        ]


def collect_sample(rows: Sequence[Mapping[str, Any]]) -> Sample:
    """From stored comparisons, one at least."""
    waves, starts_s, rounds_s = [], [], []
    for row in rows:
        mine = collect_waves(unpack_blocks(row["processes"]), lambda b: b.step_time_s)
        steps = row["processes"][0]["steps"] + 1  # an untimed one before each block
        round_s = len(mine[0].stack()) * steps * float(np.exp(mine[0].stack().mean()))
        rounds = sum(wave.baseline.shape[1] for wave in mine)
        rounds_s.append(round_s)
        starts_s.append((row["verdict_s"] - rounds * round_s) / len(mine))
        waves += mine
    return Sample(waves, max(0.0, median(starts_s)), median(rounds_s))


def split_variance(waves: Sequence[Wave], summarise: ProcessEstimate) -> Tuple[float, float]:
    """(between processes, within one) of a process estimate, among processes of one program.

    What the two halves of a process have in common is between processes; the rest of the variance
    of its whole is within.
    """
    between, total = [], []
    for wave in waves:
        values = wave.stack()
        half = values.shape[1] // 2
        own = len(wave.baseline)
        of_contender = np.arange(len(values)) // own == 1
        left = [_centre(summarise(part), of_contender)
                for part in (values[:, :half], values[:, half:], values)]  # fmt: skip
        df = len(values) - 2  # two programs
        between.append(float(left[0] @ left[1]) / df)
        total.append(float(left[2] @ left[2]) / df)
    kept = max(0.0, float(np.mean(between)))
    return kept, max(0.0, float(np.mean(total)) - kept)


def _centre(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.asarray(values - np.where(mask, values[mask].mean(), values[~mask].mean()))


def measure_neighbours(rows: Sequence[Mapping[str, Any]]) -> float:
    """The share of a block's variance that the blocks right before and after it explain.

    It is the squared correlation of the log times, each less its process's median, averaged over
    the comparisons. The neighbours are of other processes mostly, so the machine alone connects
    them. A log time beyond CLIPPED counts as that, so that single stalls do not decide.
    """
    shares = []
    for row in rows:
        processes = [np.log(entry["step_time_us"]) for entry in row["processes"]]
        logs = np.concatenate([values - np.median(values) for values in processes])
        order = np.argsort(np.concatenate([entry["turn"] for entry in row["processes"]]))
        logs = np.clip(logs[order], -CLIPPED, CLIPPED)
        around = (logs[:-2] + logs[2:]) / 2
        shares.append((correlation(around, logs[1:-1]) or 0.0) ** 2)
    return float(np.mean(shares))


def choose_rounds(between: float, within: float, sample: Sample, rounds: int) -> float:
    """The optimal rounds of a wave; `within` is that of so many. Infinite: more of the same."""
    if between <= 0:
        return math.inf
    return math.sqrt(within * rounds / between * sample.start_s / sample.round_s)


def predict_oracle_s(sample: Sample, effect: float) -> float:
    """Seconds in which an oracle has its verdict with probability 0.9: the information bound.

    `effect` is a relative difference that it shows beyond the margin, or 0, which it shows
    equivalent. It knows the variance components of the better process estimate.
    """
    aims, rounds = Measuring(), sample.usual_rounds
    distance, power = math.log1p(aims.equivalence), (1 + POWER) / 2  # both ends must lie within
    if effect:
        distance, power = math.log1p(effect) - math.log1p(aims.margin), POWER
    error = distance / float(norm.ppf(0.5 + CONFIDENCE / 2) + norm.ppf(power))
    waves = sample.keep(rounds).cut(rounds)
    tried = np.arange(2, MOST_ROUNDS)
    times = []
    for summarise in PROCESS_ESTIMATES.values():
        between, within = split_variance(waves, summarise)
        variance = REPLICATE_VARIANCES * (between + within * rounds / tried)
        replicates = np.maximum(1.0, variance / error**2)
        times.append(replicates / REPLICATES * (sample.start_s + tried * sample.round_s))
    return float(np.min(times))
