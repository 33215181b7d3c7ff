"""What a worker observed: each tensor's place, shape and digest, and values where asked for.

A worker answers with entries and writes values only where it is told to, so that two modes that
agree bit for bit exchange nothing but digests, whatever the size of the model.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.numpy import save_file

from .result import BATCHES

# level -> names of tensors
Wanted = Mapping[str, Iterable[str]]


class Entry(BaseModel):
    """One observed tensor. `kind` is a module's class, or parameter, buffer, loss and the like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: str
    name: str
    kind: str
    shape: List[int]
    digest: str  # sha256 over type, shape and values; "" where there is no such tensor

    @property
    def key(self) -> Tuple[str, str]:
        return self.level, self.name


MISSING_DIGEST = ""


def digest_array(value: np.ndarray) -> str:
    """sha256 over type, shape and bytes."""
    digest = hashlib.sha256(f"{value.dtype}:{value.shape};".encode())
    digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()


class Observer:
    """Collects entries level by level; keeps the values that are wanted until they are written."""

    def __init__(self, wanted: Optional[Wanted] = None) -> None:
        self._wanted = {level: frozenset(names) for level, names in (wanted or {}).items()}
        self._entries: List[Entry] = []
        self._values: Dict[str, Dict[str, np.ndarray]] = {}

    def add(self, level: str, name: str, kind: str, value: Optional[np.ndarray]) -> None:
        """Note a tensor; None where this side has none of that name (a missing gradient)."""
        if value is None:
            entry = Entry(level=level, name=name, kind=kind, shape=[], digest=MISSING_DIGEST)
        else:
            entry = Entry(
                level=level,
                name=name,
                kind=kind,
                shape=list(value.shape),
                digest=digest_array(value),
            )
            # batches are judged by their digests, and come in several turns
            if level != BATCHES and name in self._wanted.get(level, ()):
                self._values.setdefault(level, {})[name] = np.array(value)
        self._entries.append(entry)

    def take(self) -> List[Dict[str, Any]]:
        """The entries since the last call, as JSON values."""
        entries, self._entries = self._entries, []
        return [entry.model_dump() for entry in entries]

    def write(self, folder: Path) -> None:
        """Add the wanted values so far to the files of their levels in `folder`, and forget them.

        Every level comes in one turn, so that a file is written once.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for level, values in self._values.items():
            save_file(values, str(level_path(folder, level)))
        self._values = {}


def level_path(folder: Path, level: str) -> Path:
    """The file of a level's values."""
    return folder / f"{level.replace(' ', '-')}.safetensors"


def load_values(folder: Path, level: str, name: str) -> Optional[np.ndarray]:
    """A tensor that was wanted, or None where the side had none of that name."""
    path = level_path(folder, level)
    if not path.is_file():
        return None
    with safe_open(str(path), framework="numpy") as file:
        if name not in file.keys():  # noqa: SIM118
            return None
        value: np.ndarray = file.get_tensor(name)
        return value


_INPUT, _STATE, _GRADIENT = "input_", "state/", "output_gradient"  # keys of a recording


def save_recording(
    path: Path,
    inputs: Sequence[np.ndarray],
    state: Mapping[str, np.ndarray],
    output_gradient: Optional[np.ndarray],
) -> None:
    """Write what one layer was given, as .npz."""
    arrays = {f"{_INPUT}{number}": value for number, value in enumerate(inputs)}
    arrays.update((_STATE + name, value) for name, value in state.items())
    if output_gradient is not None:
        arrays[_GRADIENT] = output_gradient
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def load_recording(
    path: Path,
) -> Tuple[List[np.ndarray], Dict[str, np.ndarray], Optional[np.ndarray]]:
    """(inputs, state, output gradient or None) of `save_recording`."""
    with np.load(path, allow_pickle=False) as stored:
        count = sum(name.startswith(_INPUT) for name in stored.files)
        inputs = [stored[f"{_INPUT}{number}"] for number in range(count)]
        state = {n[len(_STATE) :]: stored[n] for n in stored.files if n.startswith(_STATE)}
        return inputs, state, stored[_GRADIENT] if _GRADIENT in stored.files else None
