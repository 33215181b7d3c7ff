"""Chooses the next action of a run: stop, measure the same processes longer, or start fresh ones.

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

STOP, MEASURE_LONGER, START_FRESH = "stop", "longer", "fresh"
# the time that is left is too short for fresh processes and goes to these
USE_REMAINING = "rest"
# of the first wave before anything is judged: other work comes and goes within seconds, and each
# process should have seen the machine without it
FIRST_MEASURED_S = 12.0
FEWEST_REPLICATES = FEWEST_DF + 1  # that an interval takes
FEWEST_ABBA_PAIRS, MOST_ABBA_PAIRS = 4, 8


class Aims(BaseModel):
    """When a run has seen enough, besides a verdict and the end of its time."""

    model_config = ConfigDict(frozen=True)

    replicates: int = 24  # most that are started
    until: Optional[float] = (
        None  # relative effect that must be resolvable; None: run for a verdict
    )


def choose_first_abba_pairs(
    abba_pair_s: float,
    replicates: int = FEWEST_REPLICATES,
    left_s: float = math.inf,
    start_s: float = 0.0,
) -> int:
    """ABBA pairs before the first analysis, of which each takes `abba_pair_s`.

    Where the memory holds fewer `replicates` than an interval takes, the first wave is kept so
    short that those still missing fit into the `left_s` seconds, started in `start_s` a wave.
    """
    wanted = math.ceil(FIRST_MEASURED_S / max(abba_pair_s, 1e-9))
    wanted = max(FEWEST_ABBA_PAIRS, min(MOST_ABBA_PAIRS, wanted))
    waves = math.ceil(FEWEST_REPLICATES / replicates)
    if waves == 1:
        return wanted
    fit = (left_s - (waves - 1) * start_s) / waves / max(abba_pair_s, 1e-9)
    return math.floor(min(wanted, fit)) if fit >= 1 else wanted


def next_action(
    judgement: Judgement, aims: Aims, waves: int, measured_s: float, start_s: float
) -> str:
    """STOP, MEASURE_LONGER or START_FRESH, after an analysis of `waves` waves.

    `measured_s` and `start_s` are what a wave's ABBA pairs and its start took.
    """
    if judgement.verdict != INCONCLUSIVE:
        return STOP
    effect = judgement.smallest_effect
    if aims.until is not None and effect is not None and effect <= aims.until:
        return STOP
    if waves == 1 and _pays_to_measure_longer(judgement.within_share, measured_s, start_s):
        return MEASURE_LONGER
    return START_FRESH if judgement.replicates < aims.replicates else STOP


def combine_actions(actions: Sequence[str]) -> str:
    """The action of a run whose contenders each ask for one: it stops when all of them do."""
    return next((action for action in (START_FRESH, MEASURE_LONGER) if action in actions), STOP)


def _pays_to_measure_longer(
    within_share: Optional[float], measured_s: float, start_s: float
) -> bool:
    """Whether twice the blocks save more of the variance than they cost of a wave's time."""
    if within_share is None:
        return False
    return within_share / 2 > measured_s / (start_s + measured_s)
