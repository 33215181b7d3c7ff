"""The first message of a machine that joins a run, and the checks of it by machine 0."""

from __future__ import annotations

import hmac
from typing import Any, Dict, Mapping, Optional

from ...config import EMBEDDED_DATA, SYNTHETIC_DATA
from ...record.run import Document
from .link import PROTOCOL, Message

REMEDY = "start every machine with the command that bench launch --plan prints for it"


def describe_run(document: Document) -> Dict[str, Any]:
    """The fields on which all machines of a run must agree.

    They hold the numbers of samples but not the path of the data.
    """
    workload = document.workload.model_dump(mode="json")
    if workload["data"] not in (EMBEDDED_DATA, SYNTHETIC_DATA):
        workload["data"] = "a dataset folder"
    numbers = ("train_samples", "val_samples", "steps_per_epoch", "start_epoch")
    fields = {name: getattr(document, name) for name in numbers}
    run = {**workload, "command": document.command, **fields}
    for number, one in enumerate(document.contenders):
        run[f"contender {number}"] = one.model_dump(mode="json")
    return run


def create_hello(token: str, version: str, **more: Any) -> Message:
    """The first line of a connection to machine 0; `more` describes the caller."""
    return {"protocol": PROTOCOL, "version": version, "token": token, **more}


def refuse_caller(hello: Mapping[str, Any], token: str, version: str) -> Optional[str]:
    """A sentence that refuses any caller without the token or the version; None for others."""
    if not hmac.compare_digest(str(hello.get("token")).encode(), token.encode()):
        return f"its --token is not that of machine 0; {REMEDY}"
    if hello.get("protocol") != PROTOCOL or hello.get("version") != version:
        return (
            f"it runs version {str(hello.get('version')):.20} of the suite and machine 0 runs "
            f"{version}; install the same on every machine"
        )
    return None


def refuse_run(theirs: Any, ours: Mapping[str, Any]) -> Optional[str]:
    """A sentence that names the first difference of another run; None if there is none."""
    if not isinstance(theirs, dict):
        return f"it does not say what it runs; {REMEDY}"
    for name in [*ours, *theirs]:
        there, here = theirs.get(name), ours.get(name)
        if there == here:
            continue
        if isinstance(there, dict) and isinstance(here, dict):
            name = next((f"{name}'s {key}" for key in here if here[key] != there.get(key)), name)
            there, here = there.get(name.split("'s ")[-1]), here.get(name.split("'s ")[-1])
        return f"its {name} is {_show(there)} and on machine 0 {_show(here)}; {REMEDY}"
    return None


def _show(value: Any) -> str:
    text = "not given" if value is None else f"{value}"
    return text if len(text) <= 60 else text[:57] + "..."
