"""Eager mode on several ranks: DistributedDataParallel, and global tensors."""

from __future__ import annotations

import oneflow as flow
from oneflow import nn

from ..training.eager import EagerMode
from ..training.job import Job
from ..training.modes import EvalOutput, Mode, ModeSetting
from ..training.oneflow_compat import device_of, place_on_all
from .sharing import check_share, refuse, renew_optimizer


class DistributedEager(EagerMode):
    """Each rank trains on its share; OneFlow averages the gradients during the backward pass.

    The loss of a step is that of this rank's share.
    """

    @classmethod
    def create(cls, job: Job, setting: ModeSetting) -> Mode:
        check_share(job, setting)
        if any(parameter.dtype != flow.float32 for parameter in job.model.parameters()):
            raise refuse(
                setting, "OneFlow's DistributedDataParallel takes float32 alone; use float32"
            )
        # hooks on the model itself, so that its names stay as the checkpoints know them
        nn.parallel.DistributedDataParallel(job.model)
        return cls(job)

    def clear_gradients(self) -> None:
        """To zero. A gradient that is set to None is found in its bucket again as it was, and
        OneFlow 0.9.0 would add the next one to it."""
        self._job.optimizer.zero_grad(set_to_none=False)


class GlobalEager(EagerMode):
    """The parameters on every rank, the batch split among them; OneFlow moves what is needed.

    The loss of a step is a global tensor: that of the whole batch.
    """

    @classmethod
    def create(cls, job: Job, setting: ModeSetting) -> Mode:
        check_share(job, setting)
        job.objective.to_global(
            placement=place_on_all(device_of(job.model)), sbp=flow.sbp.broadcast
        )
        return cls(renew_optimizer(job, setting))

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._placement = place_on_all(device_of(job.model))

    def compute_loss(self, images: flow.Tensor, labels: flow.Tensor) -> flow.Tensor:
        return super().compute_loss(self._share(images), self._share(labels))

    def eval_step(self) -> EvalOutput:
        """As `EagerMode.eval_step`, of this rank's share."""
        job = self._job
        job.model.eval()
        with flow.no_grad():
            images, labels = job.eval_feed.next_batch()
            logits = job.model(self._share(images))
            return logits.to_global(sbp=flow.sbp.split(0)).to_local(), labels

    def _share(self, tensor: flow.Tensor) -> flow.Tensor:
        return tensor.to_global(placement=self._placement, sbp=flow.sbp.split(0))
