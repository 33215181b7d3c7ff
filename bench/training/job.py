"""The training job, defined once: model, objective, optimizer, schedule and feeds.

Both modes are made from what is built here (see `modes.py`); neither adds anything to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from ...data import DatasetInfo
from ...models import OwnCodeError, UnknownModelError, create_model, list_arguments
from ..config import Workload
from ..errors import InputError
from ..record.checkpoint import find_checkpoint, read_about, read_state
from ..record.foreign_weights import fit_state
from .feeds import Feed, create_feeds
from .identity import ALONE, Identity
from .losses import Objective, TrainingLoss, create_loss, freeze
from .oneflow_compat import gather
from .optimizers import check_optimizer, create_optimizer, create_scheduler


def score_batches(batches: List[Any], reader_samples: Sequence[int]) -> Tuple[int, float]:
    """(number correct, mean cross entropy) over the samples of a pass.

    `batches` are (logits (B, K), labels (B,)), each of equally many rows of each reader, in order.
    What follows a reader's last sample is its next pass and does not count. The loss is computed
    here, in float64, for both modes.
    """
    logits = _select([batch[0] for batch in batches], reader_samples).astype(np.float64)
    labels = _select([batch[1] for batch in batches], reader_samples).astype(np.int64)
    correct = int((logits.argmax(axis=1) == labels).sum())
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    loss = float((log_sum - logits[np.arange(len(labels)), labels]).mean())
    return correct, loss


def _select(arrays: List[np.ndarray], reader_samples: Sequence[int]) -> np.ndarray:
    shares = zip(*(np.split(array, len(reader_samples)) for array in arrays))
    return np.concatenate(
        [np.concatenate(share)[:count] for share, count in zip(shares, reader_samples)]
    )


@dataclass
class Job:
    """What a mode needs to train and evaluate.

    `objective` holds `model` and `criterion`, and the teacher where there is one; what it gives for
    a batch is what training minimises. `scheduler` is None for a constant learning rate.
    """

    model: nn.Module
    criterion: TrainingLoss
    objective: Objective
    optimizer: flow.optim.Optimizer
    scheduler: Any
    train_feed: Feed
    eval_feed: Feed
    accumulation_steps: int = 1
    dropped: Optional[List[str]] = None  # tensors of a checkpoint that were left out

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
    `create_model` and `create_feeds`.
    """
    flow.manual_seed(workload.seed)
    model = create_student(workload)
    dropped: List[str] = []
    start = workload.resume or workload.load_checkpoint
    if start:
        flag = "--resume" if workload.resume else "--load-checkpoint"
        drop_head = None if workload.resume else workload.drop_head
        dropped = load_weights(model, start, flag, drop_head, workload.trust_checkpoint)
    teacher = _create_teacher(workload)
    criterion = create_loss(workload, model)
    objective = Objective(model, criterion, teacher).to(device)
    train_feed, eval_feed = create_feeds(workload, dataset, device, identity)
    if dtype != "float32":
        wide = getattr(flow, dtype)
        objective = objective.to(wide)
        train_feed, eval_feed = train_feed.cast(wide), eval_feed.cast(wide)
    optimizer = create_optimizer(workload, model)
    return Job(
        model=model,
        criterion=criterion,
        objective=objective,
        optimizer=optimizer,
        scheduler=create_scheduler(workload, optimizer, steps_per_epoch),
        train_feed=train_feed,
        eval_feed=eval_feed,
        accumulation_steps=accumulation_steps or workload.accumulation_steps,
        dropped=dropped,
    )


def create_student(workload: Workload) -> nn.Module:
    """The model that is trained. Raises InputError for its arguments, and as `create_model`."""
    arguments: Dict[str, Any] = dict(workload.model_args)
    if workload.dropout is not None:
        arguments["dropout"] = workload.dropout
    try:
        return create_model(workload.model, num_classes=workload.num_classes, **arguments)
    except (OwnCodeError, UnknownModelError):
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        if not arguments:
            raise
        given = ", ".join(f"{name}={value}" for name, value in arguments.items())
        taken = ", ".join(f"{k}={v}" for k, v in list_arguments(workload.model).items())
        raise InputError(
            f"{workload.model} cannot be made with {given} ({' '.join(str(error).split())}); "
            f"its arguments and their defaults are: {taken or 'none'}"
        ) from None


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
