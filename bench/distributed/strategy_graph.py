"""Graph mode on several ranks, over global tensors: data, tensor and pipeline parallel, ZeRO."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Tuple

import oneflow as flow

from ..plan.availability import explain_zero
from ..plan.graph_options import OptionValue
from ..training.eager import EvalOutput
from ..training.graph import GraphMode, device_of
from ..training.job import Job
from ..training.tensors import place_on_all
from .pipeline import assign_stages, place_stages, set_stages
from .sharing import Sharing, refuse, renew_optimizer
from .tensor_parallel import find_pairs, split_pairs


class SharedGraph(GraphMode):
    """Data parallel: the parameters on every rank, the batch split among them.

    The loss of a step is a global tensor: that of the whole batch. The other strategies differ in
    where the parameters are, and in what the graphs are told of it.
    """

    def __init__(
        self,
        job: Job,
        image_size: int,
        sharing: Sharing,
        graph_options: Optional[Mapping[str, OptionValue]] = None,
    ) -> None:
        self._sharing = sharing
        self._placement = place_on_all(device_of(job))
        self.spread(job, image_size)
        super().__init__(renew_optimizer(job, sharing), image_size, False, graph_options)

    def spread(self, job: Job, image_size: int) -> None:
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

    def spread(self, job: Job, image_size: int) -> None:
        pairs = find_pairs(job.model, self._sharing.ranks)
        if not pairs:
            raise refuse(
                self._sharing,
                f"{self._sharing.workload.model} has no pair of linear layers with only "
                "activations and dropout between them and a width that the ranks can share; "
                "use graph-dp",
            )
        super().spread(job, image_size)
        split_pairs(pairs)


class PipelineGraph(SharedGraph):
    """The model's parts in order, cut into a stage for each rank."""

    def spread(self, job: Job, image_size: int) -> None:
        self._stages = assign_stages(job.model, image_size, self._sharing)
        place_stages(job.objective, self._stages, self._placement)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        last = self._sharing.ranks - 1
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
            model = self._sharing.workload.model
            raise refuse(
                self._sharing,
                f"the forward of {model} joins tensors of different stages outside of its "
                "children; use graph-dp",
            ) from None


class ZeroGraph(SharedGraph):
    """Data parallel with the optimizer's state split among the ranks."""

    def spread(self, job: Job, image_size: int) -> None:
        reason = explain_zero(flow.__version__, device_of(job))
        if reason is not None:
            raise refuse(self._sharing, f"{reason}; use graph-dp")
        super().spread(job, image_size)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._train_graph.config.enable_zero(True)  # not run: no GPU was at hand
