"""The eager execution of a job: operators run as Python reaches them."""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

import numpy as np
import oneflow as flow

from .job import Job
from .optimizers import capture_eager_state, restore_eager_state

# images are None where the loader is inside the graph and they never leave it
TrainOutput = Tuple[flow.Tensor, flow.Tensor, Optional[flow.Tensor]]
EvalOutput = Tuple[flow.Tensor, flow.Tensor]


class EagerMode:
    """Operators run as Python reaches them."""

    graph_ops: Optional[int] = None

    def __init__(self, job: Job) -> None:
        self._job = job
        self._clips = "clip_grad_max_norm" in job.optimizer.param_groups[0]._options

    def compile_train(self) -> float:
        return 0.0

    def compile_eval(self) -> float:
        return 0.0

    def list_op_names(self) -> List[str]:
        return []

    def train_step(self) -> TrainOutput:
        """One update; returns the loss, labels (B,) and images (B, 3, H, W).

        The loss is a scalar, or (n,) with the batch split in n parts: the loss of each part.
        """
        job = self._job
        job.model.train()
        images, labels = job.train_feed.next_batch()
        self.clear_gradients()
        if job.accumulation_steps == 1:
            loss = self.compute_loss(images, labels)
            loss.backward()
            loss = loss.detach()
        else:
            loss = self._accumulate(images, labels)
        self.update()
        return loss, labels, images

    def clear_gradients(self) -> None:
        """Before a step's first backward pass."""
        self._job.optimizer.zero_grad(set_to_none=True)

    def compute_loss(self, images: flow.Tensor, labels: flow.Tensor) -> flow.Tensor:
        """The objective of a batch, or of a part of one."""
        return self._job.objective(images, labels)

    def update(self) -> None:
        """The optimizer's and the schedule's part of a step, after the gradients are there."""
        job = self._job
        if self._clips:
            job.optimizer.clip_grad()
        job.optimizer.step()
        if job.scheduler is not None:
            job.scheduler.step()

    def _accumulate(self, images: flow.Tensor, labels: flow.Tensor) -> flow.Tensor:
        count = self._job.accumulation_steps
        size = images.shape[0] // count
        losses = []
        for start in range(0, images.shape[0], size):
            part = slice(start, start + size)
            loss = self.compute_loss(images[part], labels[part])
            (loss / count).backward()
            losses.append(loss.detach())
        return flow.stack(losses)

    def capture_optimizer(self) -> Dict[str, np.ndarray]:
        """The optimizer's tensors as `parameter/slot`."""
        return capture_eager_state(self._job.optimizer, self._job.model)

    def restore_optimizer(self, state: Dict[str, np.ndarray], step: int) -> None:
        """Continue at update `step`; only before anything is compiled."""
        job = self._job
        restore_eager_state(job.optimizer, job.scheduler, job.model, state, step)

    def eval_step(self) -> EvalOutput:
        """Forward pass of one validation batch; returns logits (B, K) and labels (B,)."""
        job = self._job
        job.model.eval()
        with flow.no_grad():
            images, labels = job.eval_feed.next_batch()
            return job.model(images), labels
