"""Checkpoints as files: tensors and nothing that can run.

`NAME.safetensors` holds the weights, with what is needed to use them as metadata (model, classes,
normalisation). `NAME.training.safetensors` beside it holds the optimizer's state and, as metadata,
the step, the whole workload and the digest of the weights, so that a run can go on from it. A pair
is whole where that digest is the one of the weights, and of the run's record. No OneFlow here:
states are dictionaries of NumPy arrays.
"""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
import shutil
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ...data import DataError
from ...data.sources.stored import load_npz
from ..errors import InputError, RecordError, raise_as_input
from .events import CheckpointEvent
from .flow_checkpoint import is_flow_folder, read_flow_folder
from .foreign_weights import State, find_prefix, read_bfloat16
from .run import load_record, replace_file

METADATA_KEY = "oneflow_bench"
TRAINING_SUFFIX = ".training.safetensors"
LAST_NAME = "last.safetensors"
# where training scripts put the weights in what they save
_NESTED_KEYS = ("model", "state_dict", "model_state_dict", "net")


class TrainingState(BaseModel):
    """Where a run stood: optimizer tensors as `parameter/slot`, and the rest as plain values."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    optimizer: State
    step: int = Field(ge=0)  # updates done
    epoch: int = Field(ge=0)  # epochs done
    workload: Dict[str, Any]
    steps_per_epoch: int = Field(ge=1)
    weights_digest: Optional[str] = None  # of the weights beside it; None: before there was one
    path: Path = Field(Path(), exclude=True)  # of those weights


def digest_state(state: Mapping[str, np.ndarray]) -> str:
    """sha256 over names, shapes, types and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = np.ascontiguousarray(state[name])
        digest.update(f"{name}:{value.dtype}:{value.shape};".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def save_weights(state: State, path: Path, about: Mapping[str, Any]) -> None:
    """Write `state` with `about` (JSON values) as metadata in one move.

    Raises InputError where it cannot be written, such as on a full disk.
    """
    # not ascontiguousarray, which makes a scalar such as batch norm's counter an array of one
    arrays = {name: np.asarray(value, order="C") for name, value in state.items()}
    metadata = {METADATA_KEY: json.dumps(dict(about))}
    with _writing(path), replace_file(path) as temporary:
        save_file(arrays, str(temporary), metadata)


def copy_checkpoint(path: Path, copy: Path) -> None:
    """Give a checkpoint and its training state another path, by a link where the disk has links.

    Raises InputError as `save_weights`.

    A kill between the two moves leaves a pair that is not whole, which `find_checkpoint` passes by.
    """
    for source, target in ((training_path(path), training_path(copy)), (path, copy)):
        with _writing(target), replace_file(target) as temporary:
            temporary.unlink()
            try:
                os.link(source, temporary)
            except OSError:
                shutil.copyfile(source, temporary)


def keep_checkpoints(path: Path, rule: str, epoch: int, best: Optional[int]) -> None:
    """Apply `Measuring.keep_checkpoints` after an epoch (from 0) whose checkpoint is at `path`.

    The newest checkpoint always stays until the next one is on the disk. `best` is the epoch of the
    best accuracy or validation loss so far; None: no epoch has one. Raises InputError as
    `save_weights`.
    """
    words = rule.split(",")
    aliases = {"last": epoch, "best": best}
    for word in words:
        if aliases.get(word) == epoch:
            copy_checkpoint(path, path.with_name(f"{word}.safetensors"))
    every = [int(word[len("every:") :]) for word in words if word.startswith("every:")]
    for old in path.parent.glob("epoch-*[0-9].safetensors"):
        number = int(old.name.split("-")[1].split(".")[0])
        is_kept = any(number % count == 0 for count in every)
        is_best = "best" in words and best is not None and number == best + 1
        if old != path and not is_kept and not is_best:
            training_path(old).unlink(missing_ok=True)
            old.unlink()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"the checkpoint {path} cannot be written ({getattr(error, 'strerror', '') or error}); "
            "make room on the disk, or give --out a folder you may write to"
        ) from None


def save_training_state(state: TrainingState, weights_path: Path) -> None:
    """Write the training state beside the weights at `weights_path`."""
    about = state.model_dump(exclude={"optimizer"})
    about["digest"] = _digest_training(about, state.optimizer)
    save_weights(state.optimizer, training_path(weights_path), about)


def _digest_training(about: Mapping[str, Any], optimizer: State) -> str:
    text = json.dumps(about, sort_keys=True) + digest_state(optimizer)
    return hashlib.sha256(text.encode()).hexdigest()


def have_equal_optimizers(left: Path, right: Path) -> bool:
    """Whether the training states beside two checkpoints hold the same bits of the optimizer."""
    states = [_read_safetensors(training_path(path))[0] for path in (left, right)]
    return digest_state(states[0]) == digest_state(states[1])


def training_path(weights_path: Path) -> Path:
    """`epoch-001.training.safetensors` for `epoch-001.safetensors`."""
    return weights_path.with_name(weights_path.stem + TRAINING_SUFFIX)


def load_training_state(path: Path) -> TrainingState:
    """The state beside a checkpoint, or of a run folder's newest whole one.

    Raises InputError where there is none, and for a checkpoint that is not whole.
    """
    weights = find_checkpoint(path)
    found = training_path(weights)
    if not found.is_file():
        raise InputError(
            f"--resume {path}: {found} is missing, so the optimizer's state is not known; "
            "give a checkpoint of bench eager or bench graph, or use --load-checkpoint to start "
            "from its weights alone"
        )
    optimizer, about = _read_safetensors(found)
    if about.pop("digest", None) not in (None, _digest_training(about, optimizer)):
        raise InputError(f"--resume {path}: {found} was changed; give another checkpoint")
    try:
        state = TrainingState.model_validate({**about, "optimizer": optimizer, "path": weights})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"--resume {path}: {found} was not written by bench eager or bench graph "
            f"({first['loc'][0]}: {first['msg']})"
        ) from None
    if state.weights_digest not in (None, digest_state(read_state(weights))):
        raise InputError(
            f"--resume {path}: {weights} and {found} are of different steps or were changed; give "
            "the checkpoint of another epoch"
        )
    return state


def find_checkpoint(path: Path) -> Path:
    """`path` itself, or the newest whole checkpoint of a run folder: mostly `last`.

    Raises InputError where there is none.
    """
    if path.is_file() or is_flow_folder(path):
        return path
    folders = {file.parent for file in path.glob("checkpoints/*/*.safetensors")}
    if len(folders) == 1:
        folder = folders.pop()
        epochs = sorted(folder.glob("epoch-*[0-9].safetensors"), reverse=True)
        found = [one for one in (folder / LAST_NAME, *epochs) if one.is_file()]
        recorded = _list_digests(path) if len(found) > 1 else {}
        if len(found) > 1:
            newest = next(filter(None, (_load_whole(one, recorded) for one in epochs)), None)
            whole = [one for one in (_load_whole(found[0], recorded), newest) if one]
            found[:1] = [max(whole, key=lambda one: one.epoch).path] if whole else found[:1]
        if found:
            return found[0]
    reason = f"has checkpoints of {len(folders)} contenders" if path.is_dir() else "does not exist"
    if path.exists() and not path.is_dir():
        reason = "is a pipe or a device"
    raise InputError(
        f"the checkpoint {path} {reason}; give a .safetensors or .npz file, a folder of "
        "oneflow.save, or a run folder of bench eager or bench graph"
    )


def _list_digests(run: Path) -> Dict[int, str]:
    """The digests of the weights by the number of epochs done, as far as the record has them."""
    try:
        return {e.epoch + 1: e.digest for e in load_record(run).of_kind(CheckpointEvent)}
    except RecordError:
        return {}


def _load_whole(path: Path, recorded: Mapping[int, str]) -> Optional[TrainingState]:
    try:
        state = load_training_state(path)
    except InputError:
        return None
    is_whole = recorded.get(state.epoch, state.weights_digest) == state.weights_digest
    return state if is_whole else None


def read_about(path: Path) -> Dict[str, Any]:
    """The metadata that this suite wrote into a checkpoint; empty for any other file."""
    if not path.is_file() or path.suffix != ".safetensors":
        return {}
    return _read_safetensors(path, tensors=False)[1]


def read_state(path: Path) -> State:
    """Read weights from .safetensors, .npz or a folder of `oneflow.save`; executes nothing.

    Raises InputError for what is none of these, is damaged, or holds no tensors by name.
    """
    path = find_checkpoint(path)
    if path.is_dir():
        return _find_tensors(read_flow_folder(path), path)
    if path.suffix == ".npz":
        with raise_as_input(DataError):
            return load_npz(path)
    return _read_safetensors(path)[0]


# that safetensors raises; AttributeError and TypeError for a type that NumPy does not have
_DAMAGED = (OSError, SafetensorError, ValueError, TypeError, AttributeError, RecursionError)


def _read_safetensors(path: Path, tensors: bool = True) -> Tuple[State, Dict[str, Any]]:
    try:
        with safe_open(str(path), framework="numpy") as stored:
            about = json.loads((stored.metadata() or {}).get(METADATA_KEY, "{}"))
            if not isinstance(about, dict):
                raise ValueError(f"its {METADATA_KEY} metadata are no object")
            names = list(stored.keys()) if tensors else []
            kinds = {stored.get_slice(name).get_dtype() for name in names}
            if "BF16" in kinds:  # which NumPy does not have
                return read_bfloat16(path), about
            return {name: stored.get_tensor(name) for name in names}, about
    except _DAMAGED as error:
        raise InputError(
            f"{path} cannot be read as safetensors ({error}); give a .safetensors or .npz file or "
            "a folder of oneflow.save (docs/checkpoints.md converts PyTorch's .pth)"
        ) from None


def _find_tensors(stored: Any, path: Path) -> State:
    if isinstance(stored, dict):
        inner = [stored[key] for key in _NESTED_KEYS if isinstance(stored.get(key), dict)]
        for candidate in [*inner, stored]:
            state = {k: v for k, v in candidate.items() if isinstance(v, np.ndarray)}
            if state:
                return state
    keys = (
        ", ".join(map(reprlib.repr, islice(stored, 10)))
        if isinstance(stored, dict)
        else type(stored).__name__
    )
    raise InputError(
        f"{path} holds no tensors by name (found: {keys}); save model.state_dict(), alone or under "
        f"one of {', '.join(_NESTED_KEYS)}"
    )


def describe_prefix(path: Path) -> List[str]:
    """A sentence if a wrapper's prefix will be taken off a checkpoint's names, in a list."""
    prefix = find_prefix(read_state(path))
    return [f"{path}: the prefix {prefix} is taken off the names of its tensors"] if prefix else []
