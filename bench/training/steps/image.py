"""The suite's own training step: a classifier of images, with its recipe's loss and optimizer."""

from __future__ import annotations

from typing import Any, Dict, Optional, Sequence, Tuple

import oneflow as flow
from oneflow import nn

from ....data import DatasetInfo
from ....models import OwnCodeError, UnknownModelError, create_model, list_arguments
from ...config import Workload
from ...errors import InputError
from ..feeds import Feed, create_feeds
from ..identity import Identity
from ..losses import Objective, create_loss
from ..nest import apply
from ..optimizers import create_optimizer, create_scheduler
from . import Score
from .scoring import score_batches, score_labels


class ImageStep:
    """Batches are (images (B, 3, H, W), labels (B,) or (B, K)); see `OwnStep` for the methods."""

    def __init__(
        self, workload: Workload, dataset: Optional[DatasetInfo], identity: Identity
    ) -> None:
        self._workload, self._dataset, self._identity = workload, dataset, identity

    def create_model(self) -> nn.Module:
        return create_student(self._workload)

    def create_objective(self, model: nn.Module, teacher: Optional[nn.Module]) -> Objective:
        return Objective(model, create_loss(self._workload, model), teacher)

    def create_feeds(self, device: str) -> Tuple[Feed, Feed]:
        return create_feeds(self._workload, self._dataset, device, self._identity)

    def create_optimizer(
        self, model: nn.Module, steps_per_epoch: int
    ) -> Tuple[flow.optim.Optimizer, Any]:
        optimizer = create_optimizer(self._workload, model)
        return optimizer, create_scheduler(self._workload, optimizer, steps_per_epoch)

    def evaluate(self, model: nn.Module, images: flow.Tensor) -> Any:
        return apply(model, images)

    def score(self, batches: Sequence[Any], feed: Feed) -> Score:
        if self._dataset is not None and self._dataset.multi_label:
            names = self._dataset.classes
            loss, metrics = score_labels(batches, feed.reader_samples, names)
            return Score(loss=loss, metrics=metrics)
        correct, loss = score_batches(batches, feed.reader_samples)
        return Score(loss=loss, correct=correct)

    def describe_batch(self) -> str:
        return ""  # the suite checks its data before it trains


def _has_dropout(model: str) -> bool:
    return ":" in model or "dropout" in list_arguments(model)


def create_student(workload: Workload) -> nn.Module:
    """The model that is trained. Raises InputError for its arguments, and as `create_model`."""
    arguments: Dict[str, Any] = dict(workload.model_args)
    if workload.dropout or (workload.dropout is not None and _has_dropout(workload.model)):
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
