"""The commands that a report names: to repeat its run, and to go on from it for so many seconds."""

from __future__ import annotations

import json
import shlex
from typing import Any, List, Mapping

from ..config import STEP_DATA, Contender, Workload
from ..plan.fields import flag_of, list_settings, list_unread
from ..plan.modes import spell_strategy
from ..record.machine import list_own_code
from ..record.run import Document, RunRecord
from ..verdict.estimate import FEWEST_REPLICATES
from ..verdict.judge import predict_growth
from ..verdict.summary import SpeedSummary
from .format import format_percent, round_up

OF_A_CONTENDER = ("runtime", "blas", "device", "dtype", "python", "ranks", "accumulation_steps")
RESUMED = ("resume", "epochs")  # the rest is in the checkpoint
# relative differences that an inconclusive report gives a time for, and the longest such time
TOLD_EFFECTS, LONGEST_TOLD_S = (0.1, 0.05, 0.02), 4 * 3600.0


def spell_command(document: Document) -> str:
    """`bench ...` with a flag for each setting that is not a default.

    Paths are those of the run. Limits of the machine that ran it are in the record alone.
    """
    workload, first = document.workload, document.contenders[0]
    words = ["bench", document.command]
    step = workload.data == STEP_DATA and workload.resume is None
    words += spell_model(workload) if step else []
    unread = list_unread(workload.model_dump())  # a flag that is not read is refused
    for settings in (workload, document.measuring):
        for setting in list_settings(type(settings)):
            value = getattr(settings, setting.name)
            kept = workload.resume is None or setting.name in RESUMED or settings is not workload
            spelled = setting.heading and setting.name != "speed"  # which compare does by itself
            kept &= setting.name not in unread and not (step and setting.name in ("model", "data"))
            if spelled and kept and value != setting.default:
                words += _spell_flag(flag_of(setting.name), value)
    if document.command == "compare":
        if not document.measuring.speed:
            words.append("--no-speed")
        if any(one.batch_size is not None for one in document.contenders):
            words.append("--weak")
        words += ["--baseline", spell_contender(first)]
        for one in document.racing[1:]:
            words += ["--contender", spell_contender(one)]
    else:
        for setting in list_settings(Contender):
            value = getattr(first, setting.name)
            if setting.heading and value != setting.default:
                words += _spell_flag(setting.flag, value)
    return shlex.join(words)


def spell_model(workload: Workload) -> List[str]:
    """The words for the model of a command: a TrainingStep is an argument, others have a flag."""
    return [workload.model] if workload.data == STEP_DATA else ["--model", workload.model]


def _spell_flag(flag: str, value: Any) -> List[str]:
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    if isinstance(value, Mapping):
        return [word for key, one in value.items() for word in (flag, f"{key}={_spell(one)}")]
    if isinstance(value, list):
        return [flag, ",".join(map(str, value))]
    return [flag, str(value)]


def _spell(value: Any) -> str:
    """Of a pair: true and false as the command line reads them."""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def spell_contender(contender: Contender) -> str:
    """MODE,KEY=VALUE,... as --contender takes it."""
    mode = spell_strategy(contender.mode, contender.strategy)
    fields = {s.name: s.default for s in list_settings(Contender)}
    given = {
        name: getattr(contender, name)
        for name in OF_A_CONTENDER
        if getattr(contender, name) not in (None, fields[name])
    }
    given.update({f"env.{key}": value for key, value in contender.env.items()})
    given.update(contender.graph_options)
    if given or contender.name != mode:  # else its name would be made of its settings
        given["name"] = contender.name
    return ",".join([mode, *(f"{key}={_quote(_spell(one))}" for key, one in given.items())])


def _quote(value: str) -> str:
    return f'"{value}"' if set(value) & set(", ") else value


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
