"""The difference that an inconclusive run could have shown, and the time that less would take."""

from __future__ import annotations

import shlex

from ..config import STEP_DATA
from ..plan.fields import flag_of
from ..record.machine import list_own_code
from ..record.run import RunRecord
from ..verdict.estimate import FEWEST_REPLICATES
from ..verdict.judge import predict_growth
from ..verdict.summary import SpeedSummary
from .format import format_percent, round_up

# relative differences that an inconclusive report gives a time for, and the longest such time
TOLD_EFFECTS, LONGEST_TOLD_S = (0.1, 0.05, 0.02), 4 * 3600.0


def spell_continuation(record: RunRecord) -> str:
    """`bench compare --continue RUN`, with the code that only the command line may name."""
    workload, words = record.document.workload, ["bench", "compare"]
    own = list_own_code(workload)
    if workload.data == STEP_DATA:
        words.append(own.pop("model", workload.model))
    words += ["--continue", str(record.folder or record.document.run_id)]
    words += [word for name, value in own.items() for word in (flag_of(name), value)]
    blas = {one.blas: None for one in record.document.contenders if one.blas is not None}
    return shlex.join([*words, *(word for name in blas for word in ("--blas", name))])


def describe_detectable(speed: SpeedSummary, go_on: str) -> str:
    """The least difference that an inconclusive run could have shown, and how to see less.

    `go_on` is the command of `spell_continuation`.
    """
    judgement = speed.judgement
    if judgement.smallest_effect is None or judgement.process_spread is None:
        return "Until then the smallest detectable difference is unknown."
    least = f"only a difference above {format_percent(judgement.smallest_effect, 1)}"
    if judgement.smallest_effect > 1:
        least = "no difference of practical size"
    return (
        f"Identical processes differ by {format_percent(judgement.process_spread, 1)}, so {least} "
        f"would have been detected. {describe_longer(speed, go_on)}"
    )


def describe_longer(speed: SpeedSummary, go_on: str, replicates: int = FEWEST_REPLICATES) -> str:
    """How much longer it would take to detect less, on a machine that stays as it was.

    `go_on` is the command, whose budget is for new blocks alone; `replicates` was the run's limit.
    """
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
