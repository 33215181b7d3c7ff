"""The race: from the step times of heats to who leaves it. Pure functions.

A *heat* is a set of fresh processes that were alive together and took turns: two of the base (the
program that the others are held against) and one of each candidate. A program in several heats has
as many processes. The additive model

    z[process] = program + heat + error

with z the process's location within its heat (double rounds centred on their median, then the
Hodges-Lehmann location) is fitted by least squares. It is the analysis of an incomplete
block design (Cochran and Cox, Experimental Designs, 1957, chapter 9): a candidate that joined late
or left early is compared through the base it shared heats with. The scatter among processes is
taken as one for all programs, so that a candidate can be judged from its second process on;
docs/adr/0008-racing.md says what that costs, and that confirmations do without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ...verdict.estimate import FEWEST_DF, Estimate
from ...verdict.judge import (
    EQUIVALENT,
    FASTER,
    INCONCLUSIVE,
    SLOWER,
    Interval,
    Margins,
    decide,
    form_interval,
)
from ...verdict.summary import share_alpha

BASE_PROCESSES = 2  # of each heat: what the base has of scatter is known from the first heat on
FEWEST_HEATS = 2  # without which nothing can be said of a candidate
FEWEST_ROUNDS, MOST_ROUNDS = 1, 6  # one where a step takes seconds and so tells much
NO_TIME = "no time was left for it; give a longer --budget"
TOO_FEW = "too few processes were measured to know how they differ; give a longer --budget"
GROSS = 3.0  # times as slow in whole double rounds: no more time is spent on it


@dataclass(frozen=True, eq=False)
class Heat:
    """Log step times (processes, double rounds) and the program that each process ran."""

    programs: Tuple[str, ...]
    times: np.ndarray


class Standing(NamedTuple):
    """Where a candidate stands after a heat."""

    interval: Interval
    verdict: str  # faster | slower | equivalent | inconclusive
    reason: str  # a sentence part


def estimate_programs(heats: Sequence[Heat], base: str) -> Dict[str, Estimate]:
    """Each program's log ratio to the base: base time over its time, so above 0 it is faster.

    `std_error` is None as long as too few processes have run to know their scatter. A program that
    shares no heat with the base, directly or through others, is left out. Raises ValueError where
    the base has run in no heat.
    """
    heats = _find_connected(heats, base)
    rows = [
        (program, number, location)
        for number, heat in enumerate(heats)
        for program, location in zip(heat.programs, locate(heat))
    ]
    programs = sorted({program for program, _, _ in rows})
    if not heats:
        raise ValueError(f"the base {base} has run in no heat; its ratios cannot be formed")
    others = [program for program in programs if program != base]
    column = {program: index for index, program in enumerate(others)}
    design = np.zeros((len(rows), len(others) + len(heats)))
    for row, (program, heat_number, _) in enumerate(rows):
        if program != base:
            design[row, column[program]] = 1.0
        design[row, len(others) + heat_number] = 1.0
    values = np.array([location for _, _, location in rows])
    inverse = np.linalg.pinv(design.T @ design)
    effects = inverse @ design.T @ values
    df = len(rows) - int(np.linalg.matrix_rank(design))
    variance = float(((values - design @ effects) ** 2).sum()) / df if df else 0.0
    known = df >= FEWEST_DF
    errors = [
        math.sqrt(variance * float(inverse[place, place])) if known else None
        for place in range(len(others))
    ]
    return {
        program: Estimate(
            log_ratio=-float(effects[place]),
            std_error=errors[place],
            df=float(df),
            replicates=sum(program in heat.programs for heat in heats),
            process_spread=math.sqrt(variance) if known else None,
            within_share=None,
        )
        for program, place in column.items()
    }


def _find_connected(heats: Sequence[Heat], base: str) -> List[Heat]:
    """The heats that tell of the base: its own, and those that share a program with one of them."""
    reached, left = {base}, list(heats)
    connected: List[Heat] = []
    while True:
        found = [heat for heat in left if reached & set(heat.programs)]
        if not found:
            return connected
        connected += found
        left = [heat for heat in left if heat not in found]
        reached |= {program for heat in found for program in heat.programs}


def hodges_lehmann(values: np.ndarray) -> np.ndarray:
    """Median of the averages of all pairs, with themselves, along the last axis."""
    count = values.shape[-1]
    left, right = np.triu_indices(count)
    return np.asarray(np.median((values[..., left] + values[..., right]) / 2, axis=-1))


def locate(heat: Heat) -> np.ndarray:
    """Location of each process, the drift common to all of its heat taken away."""
    return hodges_lehmann(heat.times - np.median(heat.times, axis=0, keepdims=True))


def judge_field(
    heats: Sequence[Heat],
    base: str,
    field: Sequence[str],
    looks: int,
    comparisons: int,
    margins: Optional[Margins] = None,
) -> Dict[str, Standing]:
    """Where the candidates of `field` stand at look number `looks`; each is paid for.

    `comparisons` is how many candidates the whole race may have: the chance of ever calling one of
    them faster or slower that is equal to the base stays below 1 % for all together.
    """
    estimates = estimate_programs(heats, base)
    standings = {}
    for name in field:
        if name in estimates:
            interval = form_interval(estimates[name], looks, share_alpha(comparisons))
            verdict, reason = decide(interval, margins or Margins())
            if interval.low is None:
                reason = TOO_FEW
            standings[name] = Standing(interval, verdict, reason)
    return standings


def find_beaten(
    heats: Sequence[Heat],
    field: Sequence[str],
    rivals: Sequence[str],
    looks: int,
    comparisons: int,
    margins: Optional[Margins] = None,
) -> Dict[str, str]:
    """Candidates of `field` that are surely slower than the best of `rivals`, and that one.

    Rivals are settings of which only one can be had, such as two values of one variable.
    """
    run = {program for heat in heats for program in heat.programs}
    rivals = [name for name in rivals if name in run]
    if len(rivals) < 2:
        return {}
    against_first = estimate_programs(heats, rivals[0])
    best = max(rivals, key=lambda n: 0.0 if n == rivals[0] else against_first[n].log_ratio)
    standings = judge_field(
        heats, best, [n for n in field if n != best], looks, comparisons, margins
    )
    return {n: best for n, standing in standings.items() if standing.verdict == SLOWER}


def choose_double_rounds(start_s: float, double_round_s: float) -> int:
    """Double rounds of a heat: about as long measured as the processes took to start.

    `double_round_s` is what one process adds to a double round.
    """
    wanted = round(start_s / max(double_round_s, 1e-9))
    return max(FEWEST_ROUNDS, min(MOST_ROUNDS, wanted))


def choose_field(racing: Sequence[str], waiting: Sequence[str], affordable: int) -> List[str]:
    """Who runs in the next heat: those who have begun come first, then those who wait in order."""
    return [*racing, *waiting][: max(0, affordable)]


def count_affordable(left_s: float, process_s: float, begun: int, waiting: int) -> int:
    """Candidates that may run in the next heat, of those that have begun and those that wait.

    Who has begun needs one heat more at least; who has not needs `FEWEST_HEATS` to be judged, and
    begins only where so many fit in `left_s`. Where nobody could be judged one heat is better than
    none: a confirmation may judge who looks best in it. `process_s` is what one process costs from
    its start to its last block. 0: no heat fits, or none that would tell anything.
    """

    def places(heats: int) -> int:
        return int(left_s / (heats * max(process_s, 1e-9))) - BASE_PROCESSES

    judged = max(0, min(begun, places(1)), min(begun + waiting, places(FEWEST_HEATS)))
    return judged if judged or begun else max(0, min(waiting, places(1)))


def is_gross(base_times_s: Sequence[float], times_s: Sequence[float]) -> bool:
    """Whether a candidate is so slow that measuring it further would only cost time.

    Its fastest block is then `GROSS` times as slow as the base's slowest of the same rounds, which
    a disturbance of some blocks cannot bring about.
    """
    return min(times_s) > GROSS * max(base_times_s)


def order_by_gain(standings: Dict[str, Standing], names: Sequence[str]) -> List[str]:
    """Names by their ratio, the fastest first."""
    return sorted(names, key=lambda name: -standings[name].interval.ratio)


def choose_kept(
    left_out: Dict[str, Standing], sure: Sequence[str]
) -> Tuple[List[str], Dict[str, str]]:
    """Settings that stay in a combination, and why the others leave it.

    `left_out` has, for each setting, the combination without it held against the whole; `sure` are
    those that were surely faster alone. A setting stays where leaving it out is surely slower, and
    where that is not known but it is one of `sure`.
    """
    kept, dropped = [], {}
    for name, standing in left_out.items():
        if standing.verdict == SLOWER or (standing.verdict == INCONCLUSIVE and name in sure):
            kept.append(name)
        elif standing.verdict == FASTER:
            dropped[name] = "the combination is faster without it"
        elif standing.verdict == EQUIVALENT:
            dropped[name] = "the combination is as fast without it"
        else:
            dropped[name] = "neither alone nor in the combination was it surely faster"
    return kept, dropped
