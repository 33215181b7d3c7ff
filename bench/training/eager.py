"""The eager execution of a job: operators run as Python reaches them."""

from __future__ import annotations

import time
import types
from functools import partial
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn

from .clock import synchronize
from .feeds import Feed
from .job import Job
from .layer_graph import replace_forwards
from .modes import EvalOutput, Forward, Inputs, Mode, ModeSetting, Options, TrainOutput
from .nest import map_tensors
from .oneflow_compat import clips_gradients
from .optimizers import capture_eager_state, restore_eager_state

STEP_PARTS = ("forward_s", "loss_s", "backward_s", "update_s")


class EagerMode:
    """A `Mode` without anything compiled. The loader is outside whatever the feed."""

    graph_ops: Optional[int] = None

    def __init__(self, job: Job) -> None:
        self._job = job
        self._clips = clips_gradients(job.optimizer)

    @classmethod
    def create(cls, job: Job, setting: ModeSetting) -> Mode:
        return cls(job)

    @staticmethod
    def create_forward(
        model: nn.Module, example: Inputs, graph_options: Options = None
    ) -> Tuple[Forward, float]:
        """As `modes.create_forward`."""

        def forward(*inputs: flow.Tensor) -> Any:
            with flow.no_grad():
                return model(*inputs)

        return forward, 0.0

    def compile_train(self) -> float:
        return 0.0

    def compile_eval(self) -> float:
        return 0.0

    def list_op_names(self) -> List[str]:
        return []

    def train_step(self) -> TrainOutput:
        job = self._job
        job.model.train()
        inputs, labels = job.train_feed.next_batch()
        self.clear_gradients()
        if job.accumulation_steps == 1:
            loss = self.compute_loss(inputs, labels)
            loss.backward()
            loss = loss.detach()
        else:
            loss = self._accumulate(inputs, labels)
        self.update()
        return loss, labels, inputs

    def clear_gradients(self) -> None:
        """Before a step's first backward pass."""
        self._job.optimizer.zero_grad(set_to_none=True)

    def compute_loss(self, inputs: Any, labels: Any) -> flow.Tensor:
        """The objective of a batch, or of a part of one."""
        return self._job.objective(inputs, labels)

    def update(self) -> None:
        """The optimizer's and the schedule's part of a step, after the gradients are there."""
        job = self._job
        if self._clips:
            job.optimizer.clip_grad()
        job.optimizer.step()
        if job.scheduler is not None:
            job.scheduler.step()

    def _accumulate(self, inputs: Any, labels: Any) -> flow.Tensor:
        count = self._job.accumulation_steps
        losses = []
        for number in range(count):
            loss = self.compute_loss(
                *map_tensors(partial(_take_part, number, count), (inputs, labels))
            )
            (loss / count).backward()
            losses.append(loss.detach())
        return flow.stack(losses)

    def capture_optimizer(self) -> Dict[str, np.ndarray]:
        return capture_eager_state(self._job.optimizer, self._job.model)

    def restore_optimizer(self, state: Dict[str, np.ndarray], step: int) -> None:
        job = self._job
        restore_eager_state(job.optimizer, job.scheduler, job.model, state, step)

    def eval_step(self) -> EvalOutput:
        return predict(self._job, self._job.model, self._job.eval_feed)


def predict(job: Job, model: nn.Module, feed: Feed) -> EvalOutput:
    """The evaluation of the feed's next batch by `model`: the job's own or its teacher."""
    model.eval()
    with flow.no_grad():
        inputs, labels = feed.next_batch()
        return job.evaluate(model, inputs), labels


def _take_part(number: int, count: int, tensor: flow.Tensor) -> flow.Tensor:
    size = tensor.shape[0] // count
    return tensor[number * size : (number + 1) * size]


def measure_step_parts(job: Job) -> Dict[str, float]:
    """Seconds of the parts of one eager step, each between two full synchronisations.

    `forward_s` is of all calls of the model in the step, and `loss_s` the rest of the objective.
    """
    job.model.train()
    inputs, labels = job.train_feed.next_batch()
    job.optimizer.zero_grad(set_to_none=True)
    calls, original = [0.0], job.model.forward

    def forward(_: nn.Module, *given: Any, **named: Any) -> Any:
        start = _mark()
        outputs = original(*given, **named)
        calls.append(_mark() - start)
        return outputs

    with replace_forwards() as replace:
        replace(job.model, types.MethodType(forward, job.model))
        marks = [_mark()]
        loss = job.objective(inputs, labels)
        marks.append(_mark())
    loss.backward()
    marks.append(_mark())
    job.optimizer.step()
    marks.append(_mark())
    both, backward, update = (end - start for start, end in zip(marks, marks[1:]))
    parts = (sum(calls), both - sum(calls), backward, update)
    return dict(zip(STEP_PARTS, parts))


def _mark() -> float:
    synchronize()
    return time.perf_counter()
