"""The suite's own training step: a classifier of images, with its recipe's loss and optimizer."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
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


class ImageStep:
    """Batches are (images (B, 3, H, W), labels (B,)); see `OwnStep` for what each method gives."""

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
        correct, loss = score_batches(batches, feed.reader_samples)
        return Score(loss=loss, correct=correct)

    def describe_batch(self) -> str:
        return ""  # the suite checks its data before it trains


def score_batches(batches: Sequence[Any], reader_samples: Sequence[int]) -> Tuple[int, float]:
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
