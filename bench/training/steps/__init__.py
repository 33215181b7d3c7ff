"""The training steps: the suite's image job and one of the user's own, by one interface.

`job.create_job` asks no more of either than a `Step` has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Optional, Sequence, Tuple

import oneflow as flow
from oneflow import nn
from typing_extensions import Protocol

if TYPE_CHECKING:
    from ..feeds import Feed
    from ..losses import Objective


class Score(NamedTuple):
    """The result of an evaluation."""

    loss: Optional[float] = None
    correct: Optional[int] = None  # samples of the pass; None: not one class a sample
    metrics: Optional[Dict[str, Optional[float]]] = None  # of several labels, or an own step's


class Step(Protocol):
    """The parts that a job is made of."""

    def create_model(self) -> nn.Module:
        """The module that is trained."""

    def create_objective(self, model: nn.Module, teacher: Optional[nn.Module]) -> Objective:
        """The module that gives the loss of a batch, with `model` as a part."""

    def create_feeds(self, device: str) -> Tuple[Feed, Feed]:
        """The training feed and that of the evaluation."""

    def create_optimizer(
        self, model: nn.Module, steps_per_epoch: int
    ) -> Tuple[flow.optim.Optimizer, Any]:
        """The optimizer and its scheduler, None for a constant rate."""

    def evaluate(self, model: nn.Module, inputs: Any) -> Any:
        """A nest of tensors for the inputs of an evaluation batch."""

    def score(self, batches: Sequence[Any], feed: Feed) -> Score:
        """Of a pass over `feed`; `batches` are (outputs, labels), nests of arrays."""

    def describe_batch(self) -> str:
        """The inputs of a batch with their types and shapes, for an error; "" if not needed."""
