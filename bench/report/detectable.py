"""The difference that an inconclusive run could have shown, and the time that less would take."""

from __future__ import annotations

import shlex

from ..verdict.estimate import FEWEST_REPLICATES
from ..verdict.judge import predict_growth
from ..verdict.summary import SpeedSummary
from .format import format_percent, round_up

# relative differences that an inconclusive report gives a time for, and the longest such time
TOLD_EFFECTS, LONGEST_TOLD_S = (0.1, 0.05, 0.02), 4 * 3600.0


def describe_detectable(speed: SpeedSummary, run: str) -> str:
    """The least difference that an inconclusive run could have shown, and how to see less."""
    judgement = speed.judgement
    if judgement.smallest_effect is None or judgement.process_spread is None:
        return "Until then the smallest detectable difference is unknown."
    least = f"only a difference above {format_percent(judgement.smallest_effect, 1)}"
    if judgement.smallest_effect > 1:
        least = "no difference of practical size"
    return (
        f"Identical processes differ by {format_percent(judgement.process_spread, 1)}, so {least} "
        f"would have been detected. {describe_longer(speed, run)}"
    )


def describe_longer(speed: SpeedSummary, run: str, replicates: int = FEWEST_REPLICATES) -> str:
    """How much longer it would take to detect less, on a machine that stays as it was.

    `run` is the folder of the run, and `replicates` its limit of them.
    """
    go_on = f"bench compare --continue {shlex.quote(run)}"  # its budget is for new blocks alone
    least = speed.judgement.smallest_effect
    if least is None:
        more = f"{go_on} --budget {round_up(FEWEST_REPLICATES * speed.duration_s)}"
        if replicates < FEWEST_REPLICATES:
            more += f" --replicates {FEWEST_REPLICATES}"
        return f"More processes are needed for an interval: `{more}`."
    if least <= min(TOLD_EFFECTS):
        return f"`{go_on} --budget {round_up(3 * speed.duration_s)}` would halve the interval."
    times = [
        (effect, round_up((growth - 1) * speed.duration_s))
        for effect in TOLD_EFFECTS
        if effect < least
        for growth in [predict_growth(speed.judgement, effect)]
        if growth is not None and growth * speed.duration_s <= LONGEST_TOLD_S
    ]
    if not times:
        return "Hours would not change that; rerun on an idle machine."
    told = [f"{effect * 100:g} % with `--budget {seconds}`" for effect, seconds in times]
    return f"On this machine `{go_on}` would detect {' and '.join(told[-2:])}."
