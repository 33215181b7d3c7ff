"""What must match before two runs are points of one series, and how two series differ in words."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Tuple

from ...config import Contender
from ...record.run import RunRecord, SetupEvent

UNKNOWN = "unknown"  # the record does not say
NONE = "none"  # a setting that is not set
NOT_PART_OF_A_SERIES = {"seed", "resume"}  # of the workload: they change from run to run
Key = Dict[str, str]


def create_series_key(record: RunRecord) -> Key:
    """The fields that must match, as words; those of a contender are called `contender.field`.

    Workload (without its seed), data sizes, machine, and for each contender its settings, OneFlow's
    version, the environment variables in effect and the BLAS kernel. The suite's own commit is not
    among them: its effect is what a history is for.
    """
    document = record.document
    key = {
        name: _say(value, NONE)
        for name, value in document.workload.model_dump().items()
        if name not in NOT_PART_OF_A_SERIES
    }
    key["train_samples"] = str(document.train_samples)
    key["val_samples"] = str(document.val_samples)
    key["start_epoch"] = str(document.start_epoch)
    environment = document.environment_start
    cpu = environment.get("cpu") or {}
    key["processor"] = _say(cpu.get("model"))
    key["cores"] = _say(cpu.get("cores"))
    memory = environment.get("memory_bytes")
    # kernels keep some for themselves; what counts is the machine's size
    key["memory"] = UNKNOWN if memory is None else f"{memory / 2**30:.0f} GiB"
    key["contenders"] = ", ".join(record.contender_names())
    for contender in document.contenders:
        facts = _describe_contender(record, contender)
        key.update({f"{contender.name}.{name}": value for name, value in facts.items()})
    return key


def _describe_contender(record: RunRecord, contender: Contender) -> Key:
    setups: List[SetupEvent] = record.of_kind(SetupEvent, contender.name)
    software = setups[0].environment if setups else {}
    kernels = record.document.environment_start.get("blas_kernel") or {}
    settings = contender.model_dump(exclude={"name"})
    facts = {name: _say(value, NONE) for name, value in settings.items()}
    facts["oneflow"] = _say(software.get("oneflow"))
    facts["variables"] = _say(software.get("variables"))
    facts["blas_kernel"] = _say(kernels.get(contender.name))
    return facts


def _say(value: Any, missing: str = UNKNOWN) -> str:
    if value is None or value == "":
        return missing
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def list_differences(before: Key, after: Key) -> List[str]:
    """What differs, a phrase for each field: `batch_size 64 rather than 32`.

    What differs alike for several contenders is one phrase. Fields of a contender that only one of
    the two has are left out: `contenders` says so.
    """
    phrases: Dict[Tuple[str, str, str], List[str]] = {}
    shared = _names(before) & _names(after)
    for field in [*after, *(name for name in before if name not in after)]:
        contender, dot, name = field.rpartition(".")
        if dot and contender not in shared:
            continue
        ours, theirs = before.get(field, UNKNOWN), after.get(field, UNKNOWN)
        if ours != theirs:
            phrases.setdefault((name, ours, theirs), []).append(contender)
    words = []
    for (name, ours, theirs), contenders in phrases.items():
        whose = "" if set(contenders) in ({""}, shared) else f" of {' and '.join(contenders)}"
        if name == "variables":
            words += [f"{part}{whose}" for part in _list_variables(ours, theirs)]
        else:
            words.append(f"{name}{whose} {theirs} rather than {ours}")
    return words


def _names(key: Key) -> set:
    return set(key.get("contenders", "").split(", "))


def _list_variables(before: str, after: str) -> List[str]:
    """The environment variables that differ, one by one."""
    if UNKNOWN in (before, after):
        return [f"environment variables {after} rather than {before}"]
    ours, theirs = json.loads(before), json.loads(after)
    return [
        f"{name} {theirs.get(name, 'unset')} rather than {ours.get(name, 'unset')}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
