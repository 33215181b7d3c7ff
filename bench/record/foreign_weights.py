"""Weights that other programs saved: their formats, names and shapes beside a model's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Optional, Tuple

import numpy as np
from safetensors import deserialize

from ..errors import InputError
from .flow_checkpoint import widen_bfloat16

_PREFIX = re.compile(r"(module\.|_orig_mod\.)+")  # of parallel and of compiled models elsewhere
_SAFETENSORS_TYPES = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2", "I64": "i8", "I32": "i4", "I16": "i2",
    "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip

State = Dict[str, np.ndarray]


def read_bfloat16(path: Path) -> Dict[str, np.ndarray]:
    """The tensors of a safetensors file, bfloat16 as float32. Raises TypeError for other types."""
    state = {}
    for name, stored in deserialize(path.read_bytes()):
        kind = _SAFETENSORS_TYPES.get(stored["dtype"])
        if kind is None:
            raise TypeError(f"{name} has the type {stored['dtype']}, which is not read")
        values = np.frombuffer(stored["data"], kind)
        values = widen_bfloat16(values) if stored["dtype"] == "BF16" else values.copy()
        state[name] = values.reshape(stored["shape"])
    return state


def find_prefix(names: Iterable[str]) -> str:
    """The prefix of a wrapper, such as `module.`, that all names have; else an empty text."""
    found = {match.group() if match else "" for match in map(_PREFIX.match, names)}
    return found.pop() if len(found) == 1 else ""


def fit_state(
    state: State, shapes: Mapping[str, Tuple[int, ...]], drop_head: Optional[bool], where: str
) -> Tuple[State, List[str]]:
    """What of `state` to load into a model whose tensors have `shapes`; and what was dropped.

    `drop_head` leaves out the tensors whose first size alone differs, which is what another number
    of classes changes; None says that it cannot be asked for here. Raises InputError naming the
    first missing, unexpected and misshapen one. A wrapper's prefix of all names is taken off.
    """
    prefix = find_prefix(state)
    if prefix and not find_prefix(shapes):
        state = {name[len(prefix) :]: value for name, value in state.items()}
    dropped = [
        name
        for name, shape in shapes.items()
        if drop_head and name in state and _differs_in_classes(state[name].shape, shape)
    ]
    missing = [name for name in shapes if name not in state]
    unexpected = [name for name in state if name not in shapes]
    misshapen = [
        f"{name} {tuple(state[name].shape)} where the model has {tuple(shape)}"
        for name, shape in shapes.items()
        if name in state and name not in dropped and tuple(state[name].shape) != tuple(shape)
    ]
    faults = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    problems = [f"{len(names)} {kind}, first {names[0]}" for kind, names in faults.items() if names]
    if problems:
        can_drop = bool(misshapen) and drop_head is False
        hint = "; --drop-head leaves out a head of another size" if can_drop else ""
        raise InputError(
            f"{where} does not fit the model: {'; '.join(problems)}; give the model and the number "
            f"of classes that it was saved from{hint}"
        )
    return {k: v for k, v in state.items() if k not in dropped}, dropped


def _differs_in_classes(stored: Tuple[int, ...], wanted: Tuple[int, ...]) -> bool:
    return len(stored) == len(wanted) and stored[:1] != wanted[:1] and stored[1:] == wanted[1:]
