"""The command that repeats a stored run."""

from __future__ import annotations

import json
import shlex
from typing import Any, List, Mapping

from ...config import STEP_DATA, Contender, Workload
from ...plan.fields import flag_of, list_settings, list_unread
from ...plan.modes import spell_strategy
from ...record.run import Document

OF_A_CONTENDER = ("runtime", "blas", "device", "dtype", "python", "ranks", "accumulation_steps")
RESUMED = ("resume", "epochs")  # the rest is in the checkpoint


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
