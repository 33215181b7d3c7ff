"""Checkpoints as files: tensors and nothing that can run.

`NAME.safetensors` holds the weights, with what is needed to use them as metadata (model, classes,
normalisation). `NAME.training.safetensors` beside it holds the optimizer's state and, as metadata,
the step and the whole workload, so that a run can go on from it. No OneFlow here: states are
dictionaries of NumPy arrays.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import reprlib
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import InputError
from .events import ParametersEvent, finite_or_none
from .flow_checkpoint import PICKLE_NAME, read_flow_folder
from .foreign_weights import read_bfloat16, read_npz


def compare_weights(
    epoch: int,
    baseline: str,
    contender: str,
    baseline_path: Path,
    contender_path: Path,
    digests: Dict[str, str],
) -> ParametersEvent:
    """Compare the floating-point tensors of two safetensors files, in float64.

    `max_abs` and `mean_abs` are over all elements, `relative_l2` is
    ||contender - baseline|| / ||baseline|| (0 where both are zero). Integer buffers are left out:
    OneFlow 0.9.0 does not advance `num_batches_tracked` of batch norm in graph mode.
    """
    max_abs, largest_in = 0.0, ""
    sum_abs = sum_square = reference_square = 0.0
    count = 0
    with safe_open(str(baseline_path), framework="numpy") as left, safe_open(
        str(contender_path), framework="numpy"
    ) as right:
        for name in left.keys():  # noqa: SIM118
            reference = left.get_tensor(name)
            if not np.issubdtype(reference.dtype, np.floating) or reference.size == 0:
                continue
            reference = reference.astype(np.float64)
            difference = np.abs(right.get_tensor(name).astype(np.float64) - reference)
            largest = float(difference.max())
            if not largest_in or largest > max_abs or math.isnan(largest):
                max_abs, largest_in = largest, name
            sum_abs += float(difference.sum())
            sum_square += float((difference**2).sum())
            reference_square += float((reference**2).sum())
            count += reference.size
    relative = math.sqrt(sum_square / (reference_square or 1.0))
    return ParametersEvent(
        epoch=epoch,
        baseline=baseline,
        contender=contender,
        max_abs=finite_or_none(max_abs),
        mean_abs=finite_or_none(sum_abs / max(count, 1)),
        relative_l2=finite_or_none(relative),
        largest_in=largest_in,
        digests={name: digests[name] for name in (baseline, contender)},
    )


State = Dict[str, np.ndarray]
METADATA_KEY = "oneflow_bench"
TRAINING_SUFFIX = ".training.safetensors"
LAST_NAME = "last.safetensors"
_PREFIX = re.compile(r"(module\.|_orig_mod\.)+")  # of parallel and of compiled models elsewhere
# where training scripts put the weights in what they save
_NESTED_KEYS = ("model", "state_dict", "model_state_dict", "net")


class TrainingState(BaseModel):
    """Where a run stood: optimizer tensors as `parameter/slot`, and the rest as plain values."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    optimizer: State
    step: int  # updates done
    epoch: int  # epochs done
    workload: Dict[str, Any]
    steps_per_epoch: int


def digest_state(state: Mapping[str, np.ndarray]) -> str:
    """sha256 over names, shapes, types and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = np.ascontiguousarray(state[name])
        digest.update(f"{name}:{value.dtype}:{value.shape};".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def save_weights(state: State, path: Path, about: Mapping[str, Any]) -> None:
    """Write `state` with `about` (JSON values) as metadata, under a temporary name first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    # not ascontiguousarray, which makes a scalar such as batch norm's counter an array of one
    arrays = {name: np.asarray(value, order="C") for name, value in state.items()}
    save_file(arrays, str(temporary), {METADATA_KEY: json.dumps(dict(about))})
    temporary.replace(path)


def save_training_state(state: TrainingState, weights_path: Path) -> None:
    """Write the training state beside the weights at `weights_path`."""
    about = state.model_dump(exclude={"optimizer"})
    save_weights(state.optimizer, training_path(weights_path), about)


def training_path(weights_path: Path) -> Path:
    """`epoch-001.training.safetensors` for `epoch-001.safetensors`."""
    return weights_path.with_name(weights_path.stem + TRAINING_SUFFIX)


def load_training_state(path: Path) -> TrainingState:
    """The state beside a checkpoint or a run folder's last one. Raises InputError without one."""
    found = training_path(find_checkpoint(path))
    if not found.is_file():
        raise InputError(
            f"--resume {path}: {found} is missing, so the optimizer's state is not known; "
            "give a checkpoint of bench eager or bench graph, or use --load-checkpoint to start "
            "from its weights alone"
        )
    optimizer, about = _read_safetensors(found)
    try:
        return TrainingState.model_validate({**about, "optimizer": optimizer})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"--resume {path}: {found} was not written by bench eager or bench graph "
            f"({first['loc'][0]}: {first['msg']})"
        ) from None


def find_checkpoint(path: Path) -> Path:
    """`path` itself, or the last checkpoint of a run folder. Raises InputError for neither."""
    if path.is_file() or (path / PICKLE_NAME).is_file():
        return path
    found = sorted(path.glob(f"checkpoints/*/{LAST_NAME}"))
    if len(found) == 1:
        return found[0]
    reason = f"holds {len(found)} last checkpoints" if path.is_dir() else "does not exist"
    if path.exists() and not path.is_dir():
        reason = "is a pipe or a device"
    raise InputError(
        f"the checkpoint {path} {reason}; give a .safetensors or .npz file, a folder of "
        "oneflow.save, or a run folder of bench eager or bench graph"
    )


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
        return read_npz(path)
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
    except (
        OSError,
        SafetensorError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
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


def find_prefix(names: Iterable[str]) -> str:
    """The prefix of a wrapper, such as `module.`, that all names have; else an empty text."""
    found = {match.group() if match else "" for match in map(_PREFIX.match, names)}
    return found.pop() if len(found) == 1 else ""


def describe_prefix(path: Path) -> List[str]:
    """A sentence if a wrapper's prefix will be taken off a checkpoint's names, in a list."""
    prefix = find_prefix(read_state(path))
    return [f"{path}: the prefix {prefix} is taken off the names of its tensors"] if prefix else []


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
