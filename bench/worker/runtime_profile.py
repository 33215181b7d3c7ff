"""A runtime profile: the variables and graph options that were found good on one machine.

    {"schema": 1, "kind": "runtime-profile",
     "machine": {"processor": "...", "cores": 2, "oneflow": "0.9.0"},
     "variables": {"eager": {"OMP_NUM_THREADS": "2"}, "graph": {}},
     "graph_options": {"allow_fuse_add_to_output": true}}

What is fast on one processor may be slow on another, so a profile of another machine is refused.
A profile may come from anyone, so it sets only the known variables
that load no code (`environment.py`). The others need the user's own word.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Dict, Optional, Union

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import Annotated, Literal

from ..errors import InputError
from ..record.machine import read_cpu
from ..record.run import load_document, save_text
from .foreign_python import ask_python

UNKNOWN = "unknown"
_REMEDY = "give --runtime tuned, stock, or a file that bench tune wrote on this machine"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ProfileMachine(_Part):
    """What a profile holds for: another value of any of these is another machine."""

    processor: str
    cores: int = Field(ge=1)  # usable by the process
    oneflow: str  # its version


Name = Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
Value = Annotated[str, Field(pattern="^[^\\x00]*$")]


class ProfileVariables(_Part):
    """Environment variables of each mode."""

    eager: Dict[Name, Value] = Field(default_factory=dict)
    graph: Dict[Name, Value] = Field(default_factory=dict)


class RuntimeProfile(_Part):
    """The file."""

    schema_version: Literal[1] = Field(1, alias="schema")
    kind: Literal["runtime-profile"] = "runtime-profile"
    machine: ProfileMachine
    variables: ProfileVariables
    graph_options: Dict[str, Union[bool, int, float, str]] = Field(default_factory=dict)

    def variables_of(self, mode: str) -> Dict[str, str]:
        """The variables of a mode. Raises InputError for one that the profile was not made for."""
        found: Optional[Dict[str, str]] = getattr(self.variables, mode, None)
        if found is None:
            made_for = " and ".join(ProfileVariables.model_fields)
            raise InputError(
                f"a runtime profile has variables for {made_for} and none for {mode}; use "
                "--runtime tuned or stock"
            )
        return found


def load_runtime_profile(path: Path) -> RuntimeProfile:
    """Read a profile. Raises InputError where it is missing, damaged or holds what is not known."""
    return load_document(path, RuntimeProfile, (1,), "runtime profile", _REMEDY, "schema")


def save_runtime_profile(path: Path, profile: RuntimeProfile) -> None:
    """Write a profile; no reader sees half a file. Raises InputError where it cannot be written."""
    text = profile.model_dump_json(by_alias=True, indent=1) + "\n"
    save_text(path, text, "give a file in a folder that is there and that you may write to")


def describe_profile_machine(python: str) -> ProfileMachine:
    """This machine, with the OneFlow that the interpreter `python` would import."""
    cpu = read_cpu()
    return ProfileMachine(
        processor=cpu["model"] or UNKNOWN, cores=cpu["cores"], oneflow=find_oneflow(python) or "no"
    )


def find_oneflow(python: str) -> Optional[str]:
    """Version of the OneFlow installed for an interpreter, without importing it; None without."""
    if python == sys.executable:
        try:
            return metadata.version("oneflow")
        except metadata.PackageNotFoundError:
            return None
    code = "from importlib import metadata; print(metadata.version('oneflow'))"
    return ask_python(python, code).strip() or None


def check_profile_machine(path: Path, profile: RuntimeProfile, here: ProfileMachine) -> None:
    """Raise InputError where a profile was made on another machine than `here`, with the parts."""
    sentences = {
        "processor": "the processor {} and not {}",
        "cores": "{} usable cores and not {}",
        "oneflow": "OneFlow {} and not {}",
    }
    pairs = {name: (getattr(profile.machine, name), getattr(here, name)) for name in sentences}
    differing = [sentences[name].format(*pair) for name, pair in pairs.items() if len({*pair}) > 1]
    if differing:
        raise InputError(
            f"the runtime profile {path} was made for {', '.join(differing)}; "
            "make one here with bench tune, or use --runtime tuned"
        )
