"""The strategies: eager and graph mode on several ranks.

Eager mode uses DistributedDataParallel or global tensors. Graph mode uses global tensors, and is
data, tensor or pipeline parallel, or splits the optimizer's state (ZeRO).

A pair of linear layers is split by columns and then by rows (Shoeybi et al. 2019, arXiv:1909.08053,
section 3). Each rank has a part of the hidden width, and one sum over the ranks after the second
layer joins them again. Outside of the pair the batch is split, so the inputs of the pair are
gathered and its outputs scattered.

A pipeline cuts the model's parts, in order, into stages of about equal work, a stage for each rank.
The parts are the model's children; a child that is a sequence counts as its own children. OneFlow
moves a part's inputs to its stage, so a computation between two parts may run on either side of a
cut.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, Dict, List, Sequence, Tuple

import oneflow as flow
from oneflow import nn
from oneflow.nn import functional

from ...models.counting import count_macs
from ..errors import InputError
from ..plan.resolve import NOT_AVAILABLE, explain_zero
from ..training.eager import EagerMode
from ..training.graph import GraphMode
from ..training.job import Job
from ..training.modes import EvalOutput, Mode, ModeSetting
from ..training.oneflow_compat import device_of, place_on_all
from ..training.optimizers import create_optimizer, create_scheduler

_SEQUENCES = (nn.Sequential, nn.ModuleList)
MIN_WIDTH = 64  # the exchange costs more than a narrower layer gains
BETWEEN = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Hardsigmoid,
    nn.Sigmoid, nn.Tanh, nn.Identity, nn.Dropout,
)  # fmt: skip


def refuse(setting: ModeSetting, reason: str, remedy: str = "use graph-dp") -> InputError:
    name, ranks = setting.contender.strategy, setting.identity.ranks
    return InputError(f"{NOT_AVAILABLE}{name} on {ranks} ranks: {reason}; {remedy}")


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
        if any(parameter.dtype != flow.float32 for parameter in job.model.parameters()):
            reason = "OneFlow's DistributedDataParallel takes float32 alone"
            raise refuse(setting, reason, "use float32")
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
        placement = place_on_all(device_of(job.model))
        job.objective.to_global(placement=placement, sbp=flow.sbp.broadcast)
        return cls(renew_optimizer(job, setting), placement)

    def __init__(self, job: Job, placement: flow.placement) -> None:
        super().__init__(replace(job, evaluate=self._evaluate))
        self._placement = placement

    def compute_loss(self, images: flow.Tensor, labels: flow.Tensor) -> flow.Tensor:
        return super().compute_loss(*share(self._placement, images, labels))

    def _evaluate(self, model: nn.Module, images: flow.Tensor) -> flow.Tensor:
        return share(self._placement, model(*share(self._placement, images)))[0].to_local()


class SharedGraph(GraphMode):
    """Data parallel: the parameters are on every rank, and the batch is split.

    The loss of a step is a global tensor: that of the whole batch. The other strategies place the
    parameters otherwise and tell the graphs so.
    """

    @classmethod
    def create(cls, job: Job, setting: ModeSetting) -> Mode:
        if setting.workload.feed == "graph":
            reason = "a loader inside the graph would read the same samples on each rank"
            raise refuse(setting, reason, "use --feed loader")
        return cls(job, setting)

    def __init__(self, job: Job, setting: ModeSetting) -> None:
        self._setting = setting
        self._placement = place_on_all(device_of(job.model))
        self.spread(job)
        super().__init__(renew_optimizer(job, setting), False, setting.contender.graph_options)

    def spread(self, job: Job) -> None:
        """Make the job's tensors global."""
        job.objective.to_global(placement=self._placement, sbp=flow.sbp.broadcast)

    def place(self, *batch: flow.Tensor) -> Tuple[flow.Tensor, ...]:
        return share(self._placement, *batch)

    def eval_step(self) -> EvalOutput:
        """As `EagerMode.eval_step`, of this rank's share."""
        logits, labels = super().eval_step()
        return share(self._placement, logits)[0].to_local(), labels


class ColumnLinear(nn.Linear):
    """A linear layer; each rank computes some of its outputs, for the whole batch."""

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return functional.linear(x.to_global(sbp=flow.sbp.broadcast), self.weight, self.bias)


class RowLinear(nn.Linear):
    """A linear layer; each rank has some of its inputs, and the outputs have the batch split."""

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        output = functional.linear(x, self.weight, None).to_global(sbp=flow.sbp.split(0))
        return output if self.bias is None else output + self.bias


def find_pairs(model: nn.Module, ranks: int) -> List[Tuple[nn.Linear, nn.Linear]]:
    """Pairs of linear layers to split; no layer is in two pairs.

    The second layer follows the first in the order of the model's names, with only activations and
    dropout between them. The width between them is at least `MIN_WIDTH` and a multiple of `ranks`.
    If the forward runs them in another order, the result is still right, because global tensors
    keep the mathematics, but more is exchanged.
    """
    pairs: List[Tuple[nn.Linear, nn.Linear]] = []
    first = None
    for module in (one for one in model.modules() if not list(one.children())):
        if type(module) is nn.Linear:
            if first is not None and module.in_features == first.out_features:
                pairs.append((first, module))
                first = None
            else:
                wide = module.out_features >= MIN_WIDTH and module.out_features % ranks == 0
                first = module if wide else None
        elif not isinstance(module, BETWEEN):
            first = None
    return pairs


class TensorParallelGraph(SharedGraph):
    """Pairs of wide linear layers are split among the ranks; the rest is data parallel."""

    def spread(self, job: Job) -> None:
        pairs = find_pairs(job.model, self._setting.contender.ranks)
        if not pairs:
            raise refuse(
                self._setting,
                f"{self._setting.workload.model} has no pair of linear layers with only "
                "activations and dropout between them and a width that the ranks can share",
            )
        super().spread(job)
        for column, row in pairs:
            # the same module with another class, so that the names in checkpoints stay
            column.__class__, row.__class__ = ColumnLinear, RowLinear
            for layer, name, axis in (column, "weight", 0), (column, "bias", 0), (row, "weight", 1):
                whole = getattr(layer, name)
                if whole is not None:  # a layer may have no bias
                    part = whole.detach().to_global(sbp=flow.sbp.split(axis))
                    setattr(layer, name, nn.Parameter(part, requires_grad=whole.requires_grad))


def list_parts(model: nn.Module, prefix: str = "") -> List[str]:
    parts: List[str] = []
    for name, child in model.named_children():
        path = prefix + name
        parts += list_parts(child, f"{path}.") if isinstance(child, _SEQUENCES) else [path]
    return parts


def assign_stages(model: nn.Module, setting: ModeSetting) -> Dict[str, int]:
    """The stage of each part, such that the largest stage has as few multiply-adds as possible.

    Raises InputError for a model of fewer parts than ranks, and for parameters outside all parts.
    """
    parts = list_parts(model)
    name, ranks = setting.workload.model, setting.contender.ranks
    if len(parts) < ranks:
        count = f"{name} has {len(parts)} parts one after the other"
        raise refuse(setting, f"{count} and each rank needs one")
    outside = [
        path
        for path, _ in (*model.named_parameters(), *model.named_buffers())
        if not any(path.startswith(f"{part}.") for part in parts)
    ]
    if outside:
        raise refuse(setting, f"{outside[0]} of {name} belongs to none of its children")
    macs = count_macs(model, setting.workload.image_size)
    work = [
        sum(count for layer, count in macs.items() if f"{layer}.".startswith(f"{part}."))
        for part in parts
    ]
    return dict(zip(parts, cut(work, ranks)))


def cut(work: Sequence[int], stages: int) -> List[int]:
    """The stage of each part: consecutive runs, none empty, with the smallest largest sum.

    Of equal cuts the latest is taken. So a part without work, such as a pooling, stays in the stage
    before it, where it usually makes the tensor that crosses the cut smaller.
    """

    @lru_cache(maxsize=None)
    def best(first: int, left: int) -> Tuple[int, Tuple[int, ...]]:
        """(largest sum, negative lengths) of `left` runs of the parts from `first` on."""
        if left == 1:
            return sum(work[first:]), (first - len(work),)
        rests = [(end, *best(end, left - 1)) for end in range(first + 1, len(work) - left + 2)]
        return min(
            (max(sum(work[first:end]), most), (first - end, *runs)) for end, most, runs in rests
        )

    _, lengths = best(0, stages)
    return [stage for stage, length in enumerate(lengths) for _ in range(-length)]


class PipelineGraph(SharedGraph):
    """The model's parts in order, cut into a stage for each rank."""

    def spread(self, job: Job) -> None:
        """Put each part on the rank of its stage, and the rest of the objective on all."""
        device = self._placement.type
        stages = assign_stages(job.model, self._setting)
        self._stages = {path: (i, flow.placement(device, [i])) for path, i in stages.items()}
        for name, child in job.objective.named_children():
            if name != "model":
                child.to_global(placement=self._placement, sbp=flow.sbp.broadcast)
        for path, (_, placement) in self._stages.items():
            attrgetter(path)(job.model).to_global(placement=placement, sbp=flow.sbp.broadcast)

    def __init__(self, job: Job, setting: ModeSetting) -> None:
        super().__init__(job, setting)
        objective: Any = self._train_graph.objective
        for path, stage in self._stages.items():
            for model in (objective.model, self._eval_graph.model):
                attrgetter(path)(model).to(nn.graph.GraphModule).set_stage(*stage)
        objective.criterion.to(nn.graph.GraphModule).set_stage(*stage)  # the last

    def compile_train(self) -> float:
        """As `GraphMode.compile_train`. Raises InputError for a model that cannot be cut."""
        try:
            return super().compile_train()
        except RuntimeError as error:
            if "same placement" not in str(error):
                raise
            joins = "joins tensors of different stages outside of its children"
            reason = f"the forward of {self._setting.workload.model} {joins}"
            raise refuse(self._setting, reason) from None


class ZeroGraph(SharedGraph):
    """Data parallel with the optimizer's state split among the ranks."""

    def __init__(self, job: Job, setting: ModeSetting) -> None:
        reason = explain_zero(flow.__version__, device_of(job.model))
        if reason is not None:
            raise refuse(setting, reason)
        super().__init__(job, setting)
        self._train_graph.config.enable_zero(True)  # not run: no GPU was at hand
