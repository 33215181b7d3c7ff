"""How a model is split among ranks: pairs of linear layers, or stages of a pipeline.

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

from functools import lru_cache
from typing import Any, Dict, List, Sequence, Tuple

import oneflow as flow
from oneflow import nn
from oneflow.nn import functional

from ...models.counting import count_macs
from ..errors import InputError
from ..plan.resolve import NOT_AVAILABLE
from ..training.modes import ModeSetting

Stages = Dict[str, int]  # path of a part -> its stage

_SEQUENCES = (nn.Sequential, nn.ModuleList)
MIN_WIDTH = 64  # the exchange costs more than a narrower layer gains
BETWEEN = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Sigmoid,
    nn.Tanh,
    nn.Identity,
    nn.Dropout,
)

Pair = Tuple[nn.Linear, nn.Linear]


def refuse(setting: ModeSetting, reason: str) -> InputError:
    name, ranks = setting.contender.strategy, setting.identity.ranks
    return InputError(f"{NOT_AVAILABLE}{name} on {ranks} ranks: {reason}")


class ColumnLinear(nn.Linear):
    """A linear layer; each rank computes some of its outputs, for the whole batch."""

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return functional.linear(x.to_global(sbp=flow.sbp.broadcast), self.weight, self.bias)


class RowLinear(nn.Linear):
    """A linear layer; each rank has some of its inputs, and the outputs have the batch split."""

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        output = functional.linear(x, self.weight, None).to_global(sbp=flow.sbp.split(0))
        return output if self.bias is None else output + self.bias


def find_pairs(model: nn.Module, ranks: int) -> List[Pair]:
    """Pairs of linear layers to split; no layer is in two pairs.

    The second layer follows the first in the order of the model's names, with only activations and
    dropout between them. The width between them is at least `MIN_WIDTH` and a multiple of `ranks`.
    If the forward runs them in another order, the result is still right, because global tensors
    keep the mathematics, but more is exchanged.
    """
    leaves = [module for module in model.modules() if next(module.children(), None) is None]
    pairs: List[Pair] = []
    first = None
    for module in leaves:
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


def split_pairs(pairs: List[Pair]) -> None:
    """Split the layers of pairs whose parameters are global tensors, whole on each rank."""
    for column, row in pairs:
        # the same module with another class, so that the names in checkpoints stay
        column.__class__, row.__class__ = ColumnLinear, RowLinear
        _split(column, "weight", 0)
        if column.bias is not None:
            _split(column, "bias", 0)
        _split(row, "weight", 1)


def _split(layer: nn.Linear, name: str, axis: int) -> None:
    whole = getattr(layer, name)
    with flow.no_grad():
        part = whole.to_global(sbp=flow.sbp.split(axis))
    setattr(layer, name, nn.Parameter(part, requires_grad=whole.requires_grad))


def list_parts(model: nn.Module, prefix: str = "") -> List[str]:
    parts: List[str] = []
    for name, child in model.named_children():
        path = prefix + name
        parts += list_parts(child, f"{path}.") if isinstance(child, _SEQUENCES) else [path]
    return parts


def assign_stages(model: nn.Module, setting: ModeSetting) -> Stages:
    """The stage of each part, such that the largest stage has as few multiply-adds as possible.

    Raises InputError for a model of fewer parts than ranks, and for parameters outside all parts.
    """
    parts = list_parts(model)
    name, ranks = setting.workload.model, setting.contender.ranks
    if len(parts) < ranks:
        raise refuse(
            setting,
            f"{name} has {len(parts)} parts one after the other and each rank needs one; use "
            "graph-dp",
        )
    outside = [
        path
        for path, _ in (*model.named_parameters(), *model.named_buffers())
        if not any(path.startswith(f"{part}.") for part in parts)
    ]
    if outside:
        raise refuse(
            setting, f"{outside[0]} of {name} belongs to none of its children; use graph-dp"
        )
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
        """(largest sum, lengths of the runs) for the parts from `first` on in `left` runs."""
        if left == 1:
            return sum(work[first:]), (len(work) - first,)
        choices = []
        for end in range(first + 1, len(work) - left + 2):
            largest, lengths = best(end, left - 1)
            choices.append((max(largest, sum(work[first:end])), (end - first, *lengths)))
        return min(choices, key=lambda choice: (choice[0], [-length for length in choice[1]]))

    _, lengths = best(0, stages)
    return [stage for stage, length in enumerate(lengths) for _ in range(length)]


def place_stages(objective: nn.Module, stages: Stages, everywhere: Any) -> None:
    """Make the tensors of an objective global: the model's on the rank of their stage, others on
    all ranks."""
    for path, stage in stages.items():
        _find(objective.model, path).to_global(
            placement=_place(everywhere.type, stage), sbp=flow.sbp.broadcast
        )
    for name, child in objective.named_children():
        if name != "model":
            child.to_global(placement=everywhere, sbp=flow.sbp.broadcast)


def set_stages(block: Any, stages: Stages, device: str) -> None:
    """Set the stages of the parts of a module on the graph's proxy (`block`) for the module."""
    for path, stage in stages.items():
        part = _find(block, path).to(nn.graph.GraphModule)
        part.set_stage(stage, _place(device, stage))


def _place(device: str, stage: int) -> Any:
    return flow.placement(device, [stage])


def _find(root: Any, path: str) -> Any:
    for name in path.split("."):
        root = root[int(name)] if name.isdigit() else getattr(root, name)
    return root
