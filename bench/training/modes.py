"""The interface of a mode, and from a contender to the mode that executes it.

`plan.modes.MODES` says where the class of each mode is; this imports it. Nothing above this module
asks which mode it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

import numpy as np
import oneflow as flow
from oneflow import nn
from typing_extensions import Protocol

from ...models.registry import OwnCodeError, import_attribute
from ..config import Contender, Workload
from ..errors import InputError, raise_as_input
from ..plan.graph_options import OptionValue
from ..plan.modes import find_mode, find_mode_of
from .identity import ALONE, Identity
from .job import Job

# loss, labels and inputs, which are nests; inputs are None where the loader is inside a graph
TrainOutput = Tuple[flow.Tensor, Any, Any]
EvalOutput = Tuple[Any, Any]  # outputs, such as logits (B, K), and labels, such as (B,)
Forward = Callable[..., Any]  # such as images (N, 3, H, W) to logits (N, K)
Inputs = Union[flow.Tensor, Tuple[flow.Tensor, ...]]  # of a forward: one tensor or several
Options = Optional[Mapping[str, OptionValue]]  # of a graph


@dataclass(frozen=True)
class ModeSetting:
    """What a mode may know besides the job: how it is to be executed, and by which process."""

    workload: Workload
    contender: Contender
    steps_per_epoch: int
    identity: Identity = ALONE


class Mode(Protocol):
    """A job that can be trained and evaluated."""

    graph_ops: Optional[int]  # operators of the compiled train step; None: nothing is compiled

    def compile_train(self) -> float:
        """Compile the train step; seconds."""

    def compile_eval(self) -> float:
        """Compile the validation step; seconds."""

    def train_step(self) -> TrainOutput:
        """One update. The loss is a scalar, or (n,) with the batch split in n parts."""

    def eval_step(self) -> EvalOutput:
        """Forward pass of one validation batch."""

    def capture_optimizer(self) -> Dict[str, np.ndarray]:
        """The optimizer's tensors as `parameter/slot`."""

    def restore_optimizer(self, state: Dict[str, np.ndarray], step: int) -> None:
        """Continue at update `step`; only before anything is compiled."""

    def list_op_names(self) -> List[str]:
        """Names of the compiled operators; a model's begin with their module's path."""


class ModeClass(Protocol):
    """The class that a mode's entry in `plan.modes.MODES` names."""

    def create(self, job: Job, setting: ModeSetting) -> Mode:
        """Raises InputError for what the mode cannot execute."""

    def create_forward(
        self, model: nn.Module, example: Inputs, graph_options: Options = None
    ) -> Tuple[Forward, float]:
        """The forward of a model in eval mode, and compile seconds."""


def create_mode(job: Job, setting: ModeSetting, implementation: Optional[str] = None) -> Mode:
    """The mode that executes the contender; of several ranks this rank's part of it.

    `implementation` is the class as package.module:class, where this process may not know the
    contender's mode. Raises InputError for an unknown mode, graph options that this OneFlow does
    not have, a strategy that the model or the feed does not allow, and a process that is not one
    of as many ranks as the contender has.
    """
    contender, ranks = setting.contender, setting.identity.ranks
    if ranks != contender.ranks:
        raise InputError(
            f"{contender.name} has {contender.ranks} ranks and this process is one of {ranks}; "
            "start as many processes as ranks, with WORLD_SIZE and RANK set"
        )
    return _load(implementation or find_mode_of(contender).implementation).create(job, setting)


def create_forward(
    mode: str, model: nn.Module, example: Inputs, graph_options: Options = None
) -> Tuple[Forward, float]:
    """The forward in eval mode, and compile seconds.

    Where it is compiled, it is for inputs like `example`: one tensor, or a tuple of several.
    """
    model.eval()
    return _load(find_mode(mode).implementation).create_forward(model, example, graph_options)


def _load(implementation: str) -> ModeClass:
    with raise_as_input(OwnCodeError):
        found: ModeClass = import_attribute(implementation, "the mode")
    return found
