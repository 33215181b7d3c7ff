"""What a measuring run does next: stop, measure the same processes longer, or start fresh ones.

More blocks of the same processes shrink the noise within a process and nothing else; fresh
processes shrink both and give degrees of freedom, but have to be started. So the first wave is
measured longer as long as that takes away a greater part of the variance than it adds to the time
of a wave, which is the balance of Kalibera and Jones (2013); fresh waves are then measured as long
as the first was.
"""

from __future__ import annotations

import math
from typing import Optional, Sequence

from pydantic import BaseModel, ConfigDict

from .estimate import FEWEST_DF
from .judge import INCONCLUSIVE, Judgement

STOP, LONGER, FRESH = "stop", "longer", "fresh"
REST = "rest"  # what is left of the time is too short for fresh processes: it goes to these
# of the first wave before anything is judged: other work comes and goes within seconds, and each
# process should have seen the machine without it
FIRST_MEASURED_S = 12.0
FEWEST_REPLICATES = FEWEST_DF + 1  # that an interval takes
FEWEST_DOUBLE_ROUNDS, MOST_DOUBLE_ROUNDS = 4, 8


class Aims(BaseModel):
    """When a run has seen enough, besides a verdict and the end of its time."""

    model_config = ConfigDict(frozen=True)

    replicates: int = 24  # most that are started
    until: Optional[float] = (
        None  # relative effect that must be resolvable; None: run for a verdict
    )


def choose_first_double_rounds(
    double_round_s: float,
    replicates: int = FEWEST_REPLICATES,
    left_s: float = math.inf,
    start_s: float = 0.0,
) -> int:
    """Double rounds before the first look, of which each takes `double_round_s`.

    Where the memory holds fewer `replicates` than an interval takes, the first wave is kept so
    short that those still missing fit into the `left_s` seconds, started in `start_s` a wave.
    """
    wanted = math.ceil(FIRST_MEASURED_S / max(double_round_s, 1e-9))
    wanted = max(FEWEST_DOUBLE_ROUNDS, min(MOST_DOUBLE_ROUNDS, wanted))
    waves = math.ceil(FEWEST_REPLICATES / replicates)
    if waves == 1:
        return wanted
    fit = (left_s - (waves - 1) * start_s) / waves / max(double_round_s, 1e-9)
    return math.floor(min(wanted, fit)) if fit >= 1 else wanted


def next_move(
    judgement: Judgement, aims: Aims, waves: int, measured_s: float, start_s: float
) -> str:
    """STOP, LONGER or FRESH, after a look at `waves` waves.

    `measured_s` and `start_s` are what a wave's double rounds and its start took.
    """
    if judgement.verdict != INCONCLUSIVE:
        return STOP
    effect = judgement.smallest_effect
    if aims.until is not None and effect is not None and effect <= aims.until:
        return STOP
    if waves == 1 and _pays_to_measure_longer(judgement.within_share, measured_s, start_s):
        return LONGER
    return FRESH if judgement.replicates < aims.replicates else STOP


def combine_moves(moves: Sequence[str]) -> str:
    """What a run does next whose contenders each ask for a move: it stops when all of them do."""
    return next((move for move in (FRESH, LONGER) if move in moves), STOP)


def _pays_to_measure_longer(
    within_share: Optional[float], measured_s: float, start_s: float
) -> bool:
    """Whether twice the blocks save more of the variance than they cost of a wave's time."""
    if within_share is None:
        return False
    return within_share / 2 > measured_s / (start_s + measured_s)
