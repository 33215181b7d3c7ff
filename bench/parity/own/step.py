"""A `TrainingStep` as the arguments of `assert_parity`."""

from __future__ import annotations

from typing import Any, Callable, Optional, Tuple, Union

import numpy as np
import oneflow as flow
from oneflow import nn

from ...training.nest import map_tensors
from ...training_step import TrainingStep

Made = Union[flow.optim.Optimizer, Tuple[flow.optim.Optimizer, Any]]
CreateOptimizer = Callable[[nn.Module], Made]


class StepModule(nn.Module):
    """The module of a step, called with a batch; its outputs are the losses."""

    def __init__(self, step: TrainingStep) -> None:
        super().__init__()
        self.module, self.step = step.create_module(), step

    def forward(self, batch: Any) -> Any:
        assert self.step.loss is not None  # refused by `take_step`
        return self.step.loss(self.module, batch)


def keep_losses(losses: Any) -> Any:
    return losses


def take_step(
    step: TrainingStep, create_optimizer: Optional[CreateOptimizer]
) -> Tuple[nn.Module, Callable[..., Any], Tuple[Any], Optional[CreateOptimizer]]:
    """(model, loss, batch, create_optimizer) of a step, with the first batch of seed 0.

    Raises ValueError for a step without a loss or a batch.
    """
    if step.loss is None:
        raise ValueError(f"the TrainingStep at {step.place} has no loss; give loss=")
    flow.manual_seed(0)
    model = StepModule(step)
    batch = next(iter(step.create_batches(0)), None)
    if batch is None:
        raise ValueError(f"create_batches of the TrainingStep at {step.place} gave no batch")
    create = create_optimizer or step.create_optimizer
    of_module = None if create is None else lambda whole: create(whole.module)
    return model, keep_losses, ((map_tensors(flow.tensor, batch, np.ndarray),),), of_module
