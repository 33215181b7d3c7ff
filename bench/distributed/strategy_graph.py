"""Graph mode on several ranks, over global tensors: data, tensor and pipeline parallel, ZeRO."""

from __future__ import annotations

from typing import Tuple

import oneflow as flow

from ..plan.resolve import explain_zero
from ..training.graph import GraphMode
from ..training.job import Job
from ..training.modes import EvalOutput, Mode, ModeSetting
from ..training.oneflow_compat import device_of, place_on_all
from .pipeline import assign_stages, place_stages, set_stages
from .sharing import check_share, refuse, renew_optimizer
from .tensor_parallel import find_pairs, split_pairs


class SharedGraph(GraphMode):
    """Data parallel: the parameters on every rank, the batch split among them.

    The loss of a step is a global tensor: that of the whole batch. The other strategies differ in
    where the parameters are, and in what the graphs are told of it.
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
        super().__init__(renew_optimizer(job, setting), setting.workload.image_size, False, options)

    def spread(self, job: Job) -> None:
        """Make the job's tensors global."""
        job.objective.to_global(placement=self._placement, sbp=flow.sbp.broadcast)

    def place(self, *batch: flow.Tensor) -> Tuple[flow.Tensor, ...]:
        """The ranks' shares as one global batch."""
        split = flow.sbp.split(0)
        return tuple(tensor.to_global(placement=self._placement, sbp=split) for tensor in batch)

    def eval_step(self) -> EvalOutput:
        """As `EagerMode.eval_step`, of this rank's share."""
        logits, labels = super().eval_step()
        split = flow.sbp.split(0)
        return logits.to_global(placement=self._placement, sbp=split).to_local(), labels


class TensorParallelGraph(SharedGraph):
    """Pairs of wide linear layers are split among the ranks, the rest is data parallel."""

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
