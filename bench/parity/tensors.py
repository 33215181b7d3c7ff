"""Requests to the worker of a side, the observed tensors, and the recorded call of a layer.

A worker answers with the place, shape and digest of each tensor and writes the values of those that
it is told to. So two modes that agree bit for bit exchange digests alone, whatever the size of the
model.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.numpy import save_file

from ..config import Contender, Workload
from ..plan.contenders import workload_of
from .result import BATCHES, OUTPUT_GRADIENT

MISSING_DIGEST = ""
EAGER, GRAPH = "eager", "graph"  # names of the two sides
OUTPUT = "output"  # the name of the model's own output among its modules'
STEPS = "train-steps"  # in the place of a module's name: the model with its loss and optimizer
Wanted = Mapping[str, Sequence[str]]  # level -> names of tensors
SUBSTITUTE_SEED = 3  # of the perturbed run that takes the place of a reference that fails
KERNEL_ULPS = 16  # a float32 kernel of another runtime may lose 4 of 24 bits


class Sides(NamedTuple):
    """The names of both sides, and the unit of rounding that they are held to, in 2^-23."""

    eager: str = EAGER
    graph: str = GRAPH
    ulps: int = 1

    def describe(self, side: str) -> str:
        """A side in a sentence: eager mode, graph mode, or the contender's name."""
        name = str(getattr(self, side))
        return f"{name} mode" if name in (EAGER, GRAPH) else name


MODES = Sides()


Losses = Sequence[Optional[float]]  # of each step; None is not finite


class LateStart(NamedTuple):
    """A state that both sides of a training reached with equal bits, and how they went on."""

    checkpoint: Path  # of the baseline, with the optimizer's state
    step: int  # updates until then
    losses: Mapping[str, Losses]  # by side, of the updates after it
    other_steps: int  # to judge from the first one, if the judge's losses are not these


@dataclass(frozen=True)
class ContenderPair:
    """Two contenders of one rank, in eager or graph mode, and the training to check them by."""

    workload: Workload
    steps_per_epoch: int
    steps: int  # that are judged, at least FEWEST_STEPS
    dataset: Optional[Path]  # None: synthetic data
    baseline: Contender = Contender(name=EAGER, mode=EAGER)
    contender: Contender = Contender(name=GRAPH, mode=GRAPH)
    start: Optional[LateStart] = None  # None: the training's own beginning

    def create_workload(self, contender: Contender) -> Workload:
        """The workload as one side runs it: from the start's checkpoint on, if there is one."""
        workload = workload_of(self.workload, contender)
        if self.start is None:
            return workload
        return workload.model_copy(update={"resume": str(self.start.checkpoint)})

    @property
    def sides(self) -> Sides:
        """Another BLAS, variable, device or interpreter means other kernels, perhaps less exact."""
        one, other = self.baseline, self.contender
        fields = ("runtime", "blas", "env", "device", "python")
        alike = all(getattr(one, name) == getattr(other, name) for name in fields)
        return Sides(one.name, other.name, 1 if alike else KERNEL_ULPS)


class SideRequest(BaseModel):
    """The `start` of a worker that takes one side of a comparison."""

    model_config = ConfigDict(frozen=True)

    workload: Workload
    contender: Contender
    steps_per_epoch: int
    dataset: Optional[Path]
    folder: Path  # for the values of the `wanted` tensors
    steps: int
    checkpoint_step: int  # the step after which a checkpoint is kept and resumed
    wanted: Wanted
    perturbation_seed: Optional[int] = None  # of a perturbed run, see difference.py
    perturbation_ulps: int = 1
    seeded_draws: bool = False  # random functions give the same numbers in both modes


class LayerRequest(BaseModel):
    """The `run_isolated` of a worker that serves one layer."""

    name: str
    training: bool  # of the pass that has the call
    recording: Path  # of the call
    output: Optional[Path] = None  # for the tensors of the run; None: the call is recorded only
    reference: Optional[Path] = None  # for those of the same run in float64, if it is wanted


@dataclass(frozen=True)
class LayerCall:
    """A layer at one call: its inputs, its state before, and the gradient of its output.

    `state` has parameters and buffers by the layer's own names. `constructor` is the expression
    that builds the layer, None if there is none; `kind` is the layer's class. `described` has the
    expressions of `expressions.py`: those of the model, if `constructor` takes the layer out
    of it, and for STEPS those of its training. The inputs of STEPS are images and labels of each
    step in turn, and last the images of an evaluation.
    """

    kind: str
    constructor: Optional[str]
    training: bool
    inputs: Sequence[np.ndarray]
    state: Mapping[str, np.ndarray]
    output_gradient: Optional[np.ndarray]
    described: Mapping[str, Any] = field(default_factory=dict)

    def arrays(self) -> Dict[str, np.ndarray]:
        """All arrays, by the names that the script reads."""
        arrays = {f"input_{number}": value for number, value in enumerate(self.inputs)}
        arrays.update((f"state/{name}", value) for name, value in self.state.items())
        if self.output_gradient is not None:
            arrays["output_gradient"] = self.output_gradient
        return arrays

    def save(self, path: Path) -> None:
        """Write the call as .npz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = json.dumps([self.kind, self.constructor, self.training, dict(self.described)])
        np.savez(path, facts=np.array(facts), **self.arrays())

    @staticmethod
    def load(path: Path) -> LayerCall:
        """The call of `save`."""
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        kind, constructor, training, described = json.loads(str(arrays["facts"]))
        return LayerCall(
            kind=kind,
            constructor=constructor,
            training=training,
            inputs=[value for name, value in arrays.items() if name.startswith("input_")],
            state={n[len("state/") :]: v for n, v in arrays.items() if n.startswith("state/")},
            output_gradient=arrays.get("output_gradient"),
            described=described,
        )


def split_name(name: str) -> Tuple[str, int]:
    """The module's path in a hooked output's name, and the number of its call, from 1."""
    found = re.match(r"^(.*?)(?: \(call (\d+)\))?(?:\[.*\])?$", name)
    assert found is not None
    return found[1], int(found[2] or 1)


def list_backward(outputs: Sequence[Tuple[str, str, Any]], gradients: Sequence[str]) -> List[str]:
    """Names of gradients in the order in which the backward pass reaches them.

    This is the reverse of the order in which the modules' forward passes ended. The gradient of an
    output comes before those of its module's parameters. Parameters of modules that were not called
    come last.
    """
    ended = {f"{name} {OUTPUT_GRADIENT}": n + 0.5 for n, (name, _, _) in enumerate(outputs)}
    modules = {name: float(number) for number, (name, _, _) in enumerate(outputs)}
    modules[""] = modules.get(OUTPUT, -1.0)  # a parameter of the model itself

    def find_end(name: str) -> float:
        return ended.get(name, modules.get(name.rpartition(".")[0], -1.0))

    return sorted(gradients, key=find_end, reverse=True)


class Entry(BaseModel):
    """One observed tensor. `kind` is a module's class, or parameter, buffer, loss and the like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: str
    name: str
    kind: str
    shape: List[int]
    digest: str  # sha256 over type, shape and values; "" if there is no such tensor
    owner: str = ""  # for a buffer, the OneFlow class of the module that holds it
    finite: bool = True  # of losses; others are not examined

    @property
    def key(self) -> Tuple[str, str]:
        return self.level, self.name


class Pair(NamedTuple):
    """One tensor of both modes. The entry of a mode that does not have it has no digest."""

    eager: Entry
    graph: Entry

    @property
    def is_identical(self) -> bool:
        return self.eager.digest == self.graph.digest

    def find_mismatch(self, sides: Sides = MODES) -> Optional[str]:
        """A missing tensor or another shape, in words; None if the values can be compared."""
        for mode in (GRAPH, EAGER):
            if getattr(self, mode).digest == MISSING_DIGEST:
                return f"missing in {sides.describe(mode)}"
        if self.eager.shape != self.graph.shape:
            ours, theirs = self.eager.shape, self.graph.shape
            return f"shape {ours} in {sides.eager} and {theirs} in {sides.describe(GRAPH)}"
        return None


def pair_entries(eager: Sequence[Entry], graph: Sequence[Entry]) -> List[Pair]:
    """Both sides' entries by level and name, in eager's order; those of graph alone come last."""
    ours, theirs = ({entry.key: entry for entry in side} for side in (eager, graph))
    absent = {
        key: entry.model_copy(update={"digest": MISSING_DIGEST})
        for key, entry in {**ours, **theirs}.items()
    }
    return [Pair(ours.get(key, none), theirs.get(key, none)) for key, none in absent.items()]


def digest_array(value: np.ndarray) -> str:
    """sha256 over type, shape and bytes."""
    digest = hashlib.sha256(f"{value.dtype}:{value.shape};".encode())
    digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()


class Observer:
    """Collects entries level by level, and keeps the wanted values until they are written."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = {level: frozenset(names) for level, names in wanted.items()}
        self._entries: List[Entry] = []
        self._values: Dict[str, Dict[str, np.ndarray]] = {}

    def add(
        self, level: str, name: str, kind: str, value: Optional[np.ndarray], owner: str = ""
    ) -> None:
        """Note a tensor; None if this side has none of that name (a missing gradient)."""
        shape = [] if value is None else list(value.shape)
        digest = MISSING_DIGEST if value is None else digest_array(value)
        finite = kind != "loss" or value is None or bool(np.isfinite(value).all())
        facts = {"shape": shape, "digest": digest, "owner": owner, "finite": finite}
        self._entries.append(Entry(level=level, name=name, kind=kind, **facts))
        # batches are judged by their digests, and arrive in several turns
        if value is not None and level != BATCHES and name in self._wanted.get(level, ()):
            self._values.setdefault(level, {})[name] = np.array(value)

    def take(self) -> List[Entry]:
        """The entries since the last call."""
        entries, self._entries = self._entries, []
        return entries

    def write(self, folder: Path) -> None:
        """Write the wanted values to the files of their levels in `folder`, and forget them.

        All tensors of a level arrive in one turn, so a file is written once.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for level, values in self._values.items():
            save_file(values, str(level_path(folder, level)))
        self._values = {}


def level_path(folder: Path, level: str) -> Path:
    """The file of a level's values."""
    return folder / f"{level.replace(' ', '-')}.safetensors"


def load_values(folder: Path, level: str, name: str) -> Optional[np.ndarray]:
    """A wanted tensor, or None if the side had none of that name."""
    path = level_path(folder, level)
    if not path.is_file():
        return None
    with safe_open(str(path), framework="numpy") as file:
        if name not in file.keys():  # noqa: SIM118
            return None
        value: np.ndarray = file.get_tensor(name)
        return value
