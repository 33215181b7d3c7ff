"""The training job, defined once: model, objective, optimizer, schedule and feeds of a `Step`.

Both modes are made from what is built here (see `modes.py`); neither adds anything to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np
import oneflow as flow
from oneflow import nn

from ...data import DatasetInfo
from ...models import create_model
from ..config import STEP_DATA, Workload
from ..errors import InputError
from ..record.checkpoint import find_checkpoint, read_about, read_state
from ..record.foreign_weights import fit_state
from .feeds import Feed
from .identity import ALONE, Identity
from .losses import Objective, freeze
from .nest import apply
from .oneflow_compat import gather
from .optimizers import check_optimizer
from .steps import Score, Step
from .steps.batches import read_layout
from .steps.image import ImageStep
from .steps.own import OwnStep


@dataclass
class Job:
    """What a mode needs to train and evaluate.

    `objective` holds `model`, and the teacher where there is one; what it gives for a batch is what
    training minimises. `scheduler` is None for a constant learning rate. `evaluate` gives the
    outputs of `model` for the inputs of an evaluation batch.
    """

    model: nn.Module
    objective: Objective
    optimizer: flow.optim.Optimizer
    scheduler: Any
    train_feed: Feed
    eval_feed: Feed
    accumulation_steps: int = 1
    dropped: Optional[List[str]] = None  # tensors of a checkpoint that were left out
    evaluate: Callable[[Any, Any], Any] = apply
    score: Callable[[Sequence[Any], Feed], Score] = lambda batches, feed: Score()
    describe_batch: Callable[[], str] = lambda: ""

    def __post_init__(self) -> None:
        check_optimizer(self.optimizer, self.objective)
        self._parameters = {name for name, _ in self.model.named_parameters()}

    def refuse_late_parameters(self) -> None:
        """Raise InputError for parameters that a forward made: the optimizer does not know them."""
        late = [n for n, _ in self.model.named_parameters() if n not in self._parameters]
        if late:
            raise InputError(
                f"forward makes the parameter {late[0]}, which neither the optimizer nor a graph "
                "trains; make its layer in __init__"
            )

    @property
    def teacher(self) -> Optional[nn.Module]:
        return getattr(self.objective, "teacher", None)


def create_job(
    workload: Workload,
    dataset: Optional[DatasetInfo],
    steps_per_epoch: int,
    device: str,
    dtype: str = "float32",
    identity: Identity = ALONE,
    accumulation_steps: Optional[int] = None,
) -> Job:
    """Build the job. The same workload and seed give the same weights and batches in any process.

    With `dtype` "float64" weights and batches are the float32 ones, widened. In one of several
    ranks (`identity`) the feeds give its share of each batch. `accumulation_steps` are the
    workload's unless given. Raises InputError for a checkpoint that does not fit, and the errors of
    the step's own parts.
    """
    flow.manual_seed(workload.seed)
    step: Step
    if workload.data == STEP_DATA:
        step = OwnStep(workload)
    else:
        step = ImageStep(workload, dataset, identity)
    model = step.create_model()
    dropped: List[str] = []
    start = workload.resume or workload.load_checkpoint
    if start:
        flag = "--resume" if workload.resume else "--load-checkpoint"
        drop_head = None if workload.resume else workload.drop_head
        dropped = load_weights(model, start, flag, drop_head, workload.trust_checkpoint)
    teacher = _create_teacher(workload)
    objective = step.create_objective(model, teacher).to(device)
    train_feed, eval_feed = step.create_feeds(device)
    if dtype != "float32":
        wide = getattr(flow, dtype)
        objective = objective.to(wide)
        train_feed, eval_feed = train_feed.cast(wide), eval_feed.cast(wide)
    optimizer, scheduler = step.create_optimizer(model, steps_per_epoch)
    parts = accumulation_steps or workload.accumulation_steps
    _check_parts(train_feed, parts)
    return Job(
        model=model,
        objective=objective,
        optimizer=optimizer,
        scheduler=scheduler,
        train_feed=train_feed,
        eval_feed=eval_feed,
        accumulation_steps=parts,
        dropped=dropped,
        evaluate=step.evaluate,
        score=step.score,
        describe_batch=step.describe_batch,
    )


def _check_parts(feed: Feed, parts: int) -> None:
    for place, dtype, shape in read_layout(feed.create_example()[0]) if parts > 1 else ():
        if not shape or shape[0] % parts:
            raise InputError(
                f"accumulation splits each tensor of a batch into {parts} equal parts of its first "
                f"dimension and {place} is {dtype} {shape}; give a number that divides it"
            )


def _create_teacher(workload: Workload) -> Optional[nn.Module]:
    """The frozen teacher with its checkpoint's arguments, made after the student has drawn."""
    if workload.teacher is None:
        return None
    path, trust = workload.teacher_checkpoint, workload.trust_checkpoint
    about = read_about(find_checkpoint(Path(path))) if path else {}
    arguments = about.get("model_args", {}) if about.get("model") == workload.teacher else {}
    teacher = create_model(workload.teacher, num_classes=workload.num_classes, **arguments)
    if path:
        load_weights(teacher, path, "--teacher-checkpoint", trust=trust)
    return freeze(teacher)


def copy_state(model: nn.Module) -> Dict[str, np.ndarray]:
    """Parameters and buffers as arrays of their own (`Tensor.numpy` aliases the tensor).

    Of a model that is spread over ranks the whole, on each; all ranks must ask at once.
    """
    return {name: gather(value) for name, value in model.state_dict().items()}


def load_weights(
    model: nn.Module, path: str, flag: str, drop_head: Optional[bool] = None, trust: bool = False
) -> List[str]:
    """Load a checkpoint into `model`; the names of the tensors that `drop_head` left out.

    `drop_head` is None where the user has no such choice, so that no error offers it.
    Only with `trust` is a folder of `oneflow.save` loaded by OneFlow, which executes what is stored
    in it. Raises InputError for a file that cannot be read or does not fit.
    """
    found = find_checkpoint(Path(path))
    state = _load_trusted(found, flag) if trust and found.is_dir() else read_state(found)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    fitting, dropped = fit_state(state, shapes, drop_head, f"{flag} {path}")
    tensors = {name: flow.tensor(value) for name, value in fitting.items()}
    model.load_state_dict(tensors, strict=False)  # all that may be missing was dropped above
    return dropped


def _load_trusted(path: Path, flag: str) -> Dict[str, np.ndarray]:
    try:
        stored = flow.load(str(path))
    except Exception as error:  # whatever the stored code raises
        raise InputError(
            f"{flag} {path} cannot be loaded by OneFlow ({type(error).__name__}: {error})"
        ) from None
    if isinstance(stored, nn.Module):
        return copy_state(stored)
    nested = [stored.get(key) for key in ("model", "state_dict") if isinstance(stored, dict)]
    state = next((value for value in nested if isinstance(value, dict)), stored)
    if not isinstance(state, dict):
        raise InputError(
            f"{flag} {path} holds no tensors by name (found: {type(state).__name__}); save "
            "model.state_dict()"
        )
    return {k: np.array(v.numpy()) for k, v in state.items() if isinstance(v, flow.Tensor)}


def list_module_kinds(model: nn.Module) -> List[str]:
    """Classes of the modules that compute something, each once; dropout of nothing does not."""
    return sorted({type(one).__name__ for one in model.modules() if getattr(one, "p", None) != 0})
