"""The strategies: eager and graph mode on several ranks.

Eager mode uses DistributedDataParallel or global tensors. Graph mode uses global tensors, and is
data, tensor or pipeline parallel, or splits the optimizer's state (ZeRO).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Tuple

import oneflow as flow
from oneflow import nn

from ..errors import InputError
from ..plan.resolve import explain_zero
from ..training.eager import EagerMode
from ..training.graph import GraphMode
from ..training.job import Job
from ..training.modes import EvalOutput, Mode, ModeSetting
from ..training.oneflow_compat import device_of, place_on_all
from ..training.optimizers import create_optimizer, create_scheduler
from .splitting import assign_stages, find_pairs, place_stages, refuse, set_stages, split_pairs


def check_share(job: Job, setting: ModeSetting) -> None:
    """Raise InputError if the share of a rank does not divide into the accumulation steps."""
    parts, share, ranks = job.accumulation_steps, job.train_feed.batch_size, setting.identity.ranks
    if share % parts:
        raise InputError(
            f"each of {ranks} ranks has {share} samples of a batch, which do not divide into "
            f"{parts} parts for one update; give a --batch-size that is a multiple of "
            f"{ranks * parts}"
        )


def share(placement: flow.placement, *batch: flow.Tensor) -> Tuple[flow.Tensor, ...]:
    """The ranks' shares as one global batch."""
    return tuple(one.to_global(placement=placement, sbp=flow.sbp.split(0)) for one in batch)


def renew_optimizer(job: Job, setting: ModeSetting) -> Job:
    """The job with a new optimizer and schedule, for the present parameters of its model.

    A parameter that becomes a global tensor is a new object.
    """
    optimizer = create_optimizer(setting.workload, job.model)
    scheduler = create_scheduler(setting.workload, optimizer, setting.steps_per_epoch)
    return replace(job, optimizer=optimizer, scheduler=scheduler)


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
        # puts hooks on the model itself, so that the names in checkpoints stay
        nn.parallel.DistributedDataParallel(job.model)
        return cls(job)

    def clear_gradients(self) -> None:
        """Set gradients to zero. After None, OneFlow 0.9.0 would find the old gradient in its
        bucket and add the next one to it."""
        self._job.optimizer.zero_grad(set_to_none=False)


class GlobalEager(EagerMode):
    """The parameters are on every rank and the batch is split; OneFlow exchanges the tensors.

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
        return super().compute_loss(*share(self._placement, images, labels))

    def eval_step(self) -> EvalOutput:
        """As `EagerMode.eval_step`, of this rank's share."""
        job = self._job
        job.model.eval()
        with flow.no_grad():
            images, labels = job.eval_feed.next_batch()
            logits = job.model(*share(self._placement, images))
            return share(self._placement, logits)[0].to_local(), labels


class SharedGraph(GraphMode):
    """Data parallel: the parameters are on every rank, and the batch is split.

    The loss of a step is a global tensor: that of the whole batch. The other strategies place the
    parameters otherwise and tell the graphs so.
    """

    @classmethod
    def create(cls, job: Job, setting: ModeSetting) -> Mode:
        check_share(job, setting)
        if setting.workload.feed == "graph":
            raise refuse(
                setting,
                "a loader inside the graph would read the same samples on each rank; use --feed "
                "loader",
            )
        return cls(job, setting)

    def __init__(self, job: Job, setting: ModeSetting) -> None:
        self._setting = setting
        self._placement = place_on_all(device_of(job.model))
        self.spread(job)
        options = setting.contender.graph_options
        super().__init__(renew_optimizer(job, setting), False, options)

    def spread(self, job: Job) -> None:
        """Make the job's tensors global."""
        job.objective.to_global(placement=self._placement, sbp=flow.sbp.broadcast)

    def place(self, *batch: flow.Tensor) -> Tuple[flow.Tensor, ...]:
        return share(self._placement, *batch)

    def eval_step(self) -> EvalOutput:
        """As `EagerMode.eval_step`, of this rank's share."""
        logits, labels = super().eval_step()
        return share(self._placement, logits)[0].to_local(), labels


class TensorParallelGraph(SharedGraph):
    """Pairs of wide linear layers are split among the ranks; the rest is data parallel."""

    def spread(self, job: Job) -> None:
        pairs = find_pairs(job.model, self._setting.contender.ranks)
        if not pairs:
            raise refuse(
                self._setting,
                f"{self._setting.workload.model} has no pair of linear layers with only "
                "activations and dropout between them and a width that the ranks can share; "
                "use graph-dp",
            )
        super().spread(job)
        split_pairs(pairs)


class PipelineGraph(SharedGraph):
    """The model's parts in order, cut into a stage for each rank."""

    def spread(self, job: Job) -> None:
        self._stages = assign_stages(job.model, self._setting)
        place_stages(job.objective, self._stages, self._placement)

    def __init__(self, job: Job, setting: ModeSetting) -> None:
        super().__init__(job, setting)
        last = self._setting.contender.ranks - 1
        device = self._placement.type
        set_stages(self._train_graph.objective.model, self._stages, device)
        set_stages(self._train_graph.objective, {"criterion": last}, device)
        set_stages(self._eval_graph.model, self._stages, device)

    def compile_train(self) -> float:
        """As `GraphMode.compile_train`. Raises InputError for a model that cannot be cut."""
        try:
            return super().compile_train()
        except RuntimeError as error:
            if "same placement" not in str(error):
                raise
            model = self._setting.workload.model
            raise refuse(
                self._setting,
                f"the forward of {model} joins tensors of different stages outside of its "
                "children; use graph-dp",
            ) from None


class ZeroGraph(SharedGraph):
    """Data parallel with the optimizer's state split among the ranks."""

    def spread(self, job: Job) -> None:
        reason = explain_zero(flow.__version__, device_of(job.model))
        if reason is not None:
            raise refuse(self._setting, f"{reason}; use graph-dp")
        super().spread(job)

    def __init__(self, job: Job, setting: ModeSetting) -> None:
        super().__init__(job, setting)
        self._train_graph.config.enable_zero(True)  # not run: no GPU was at hand
