"""A `TrainingStep` as the arguments of `assert_parity`."""

from __future__ import annotations

from itertools import islice
from typing import Any, Callable, Optional, Tuple, Union

import numpy as np
import oneflow as flow
from oneflow import nn

from ...training.nest import map_tensors
from ...training.watch.values import list_read_values
from ...training_step import TrainingStep

Made = Union[flow.optim.Optimizer, Tuple[flow.optim.Optimizer, Any]]
CreateOptimizer = Callable[[nn.Module], Made]
MORE_BATCHES = 2  # that are drawn to see whether they change what the loss reads


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

    Raises ValueError for a step without a loss or a batch, and for batches that change what the
    loss reads beside them.
    """
    if step.loss is None:
        raise ValueError(f"the TrainingStep at {step.place} has no loss; give loss=")
    flow.manual_seed(0)
    model = StepModule(step)
    batches = iter(step.create_batches(0))
    batch = next(batches, None)
    if batch is None:
        raise ValueError(f"create_batches of the TrainingStep at {step.place} gave no batch")
    before = list_read_values(model)
    list(islice(batches, MORE_BATCHES))
    after = list_read_values(model)
    changed = [name for (holder, name), text in before.items() if after.get((holder, name)) != text]
    if changed:
        raise ValueError(
            f"create_batches of the TrainingStep at {step.place} changes {min(changed)}, which its "
            "loss or module reads; a graph keeps the first value, and this check takes one batch: "
            "give the value as a tensor of the batch, or run bench check"
        )
    create = create_optimizer or step.create_optimizer
    of_module = None if create is None else lambda whole: create(whole.module)
    return model, keep_losses, ((map_tensors(flow.tensor, batch, np.ndarray),),), of_module
