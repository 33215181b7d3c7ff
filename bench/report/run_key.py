"""The settings of a run, as text: what must match where runs are compared, and what differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Set, Tuple

from ..config import EMBEDDED_DATA, STEP_DATA, SYNTHETIC_DATA
from ..record.run import RunRecord
from ..record.side import Side

UNKNOWN = "unknown"  # not in the record
NONE = "none"  # a setting that is not set
NOT_PART_OF_A_SERIES = {"seed", "resume", "data"}  # of the workload: they change from run to run
SHOWN_DIGITS = 12  # of a checksum
# fields that are JSON: the whole, a part by its name, and a part that is missing
_PARTS = {
    "variables": ("environment variables", "{}", "unset"),
    "code": ("your code", "SHA-256 of {}", "not loaded"),
}
Key = Dict[str, str]
_ENCODE = json.JSONEncoder(sort_keys=True).encode


def create_series_key(record: RunRecord) -> Key:
    """The fields that must match in a series, as text; those of a contender are `contender.field`.

    They are the workload without its seed, the checksum of the data and their sizes, the machine,
    the label, and the git branch that the run was started in. For each contender they are its
    settings, OneFlow's version, the environment variables in effect and the BLAS. The
    commits are not among them, since a history shows their effect.
    """
    document, machine = record.document, record.document.environment_start
    key = {
        name: _format_field(value, NONE)
        for name, value in document.workload.model_dump().items()
        if name not in NOT_PART_OF_A_SERIES
    }
    key["data"] = _identify_data(record)
    key["label"] = document.measuring.label or NONE
    key["branch"] = (machine.get("project") or {}).get("branch") or NONE
    for name in ("train_samples", "val_samples", "start_epoch"):
        key[name] = str(getattr(document, name))
    cpu, memory = machine.get("cpu") or {}, machine.get("memory_bytes")
    key["processor"] = _format_field(cpu.get("model"))
    key["cores"] = _format_field(cpu.get("cores"))
    # in whole GiB: kernels keep some of the memory for themselves
    key["memory"] = UNKNOWN if memory is None else f"{memory / 2**30:.0f} GiB"
    key["contenders"] = ", ".join(record.contender_names())
    kernels = machine.get("blas_kernel") or {}
    for contender in document.contenders:
        software = Side(record, contender.name).environment
        settings = contender.model_dump(exclude={"name"})
        facts = {name: _format_field(value, NONE) for name, value in settings.items()}
        for name in ("oneflow", "variables"):
            facts[name] = _format_field(software.get(name))
        facts["blas_version"] = _format_field((software.get("blas") or {}).get("version"), NONE)
        facts["blas_kernel"] = _format_field(kernels.get(contender.name))
        key.update({f"{contender.name}.{name}": value for name, value in facts.items()})
    return key


def _format_field(value: Any, missing: str = UNKNOWN) -> str:
    if value is None or value == "":
        return missing
    return value if isinstance(value, str) else _ENCODE(value)


def _identify_data(record: RunRecord) -> str:
    """By their checksum, or by name where they belong to the suite.

    Old records have no checksum. They are told apart by the folder's name.
    """
    data = record.document.workload.data
    if data in (EMBEDDED_DATA, SYNTHETIC_DATA, STEP_DATA):
        return data
    checksum = record.document.environment_start.get("data_checksum")
    return checksum[:SHOWN_DIGITS] if checksum else f"{Path(data).name} (checksum {UNKNOWN})"


def list_differences(before: Key, after: Key) -> List[str]:
    """The differences, a phrase for each field: `batch_size 64 rather than 32`."""
    return [
        f"{name} {theirs} rather than {ours}"
        for name, ours, theirs in find_differences(before, after)
    ]


def find_differences(before: Key, after: Key) -> List[Tuple[str, str, str]]:
    """(field, before, after) of the fields that differ.

    The same difference of several contenders is given once. Fields of a contender that only one key
    has are left out, since the field `contenders` differs then.
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
    found: List[Tuple[str, str, str]] = []
    for (name, ours, theirs), contenders in phrases.items():
        whose = "" if set(contenders) in ({""}, shared) else f" of {' and '.join(contenders)}"
        parts = _list_parts(name, ours, theirs) if name in _PARTS else [(name, ours, theirs)]
        found += [(f"{part}{whose}", old, new) for part, old, new in parts]
    return found


def _names(key: Key) -> Set[str]:
    return set(key.get("contenders", "").split(", "))


def _list_parts(field: str, before: str, after: str) -> List[Tuple[str, str, str]]:
    """The environment variables or files of code that differ, one by one."""
    whole, part, missing = _PARTS[field]
    if UNKNOWN in (before, after):
        return [(whole, before, after)]
    ours, theirs = json.loads(before), json.loads(after)
    return [
        (part.format(name), str(ours.get(name, missing)), str(theirs.get(name, missing)))
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
