"""A model's parts in order, cut into stages of about equal work, each on its rank.

The parts are the model's children, where a child is a sequence its own children. OneFlow moves a
part's inputs to its stage, so what a model computes between its parts runs on either side of a cut.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Dict, List, Sequence, Tuple

import oneflow as flow
from oneflow import nn

from ...models.counting import count_macs
from ..training.modes import ModeSetting
from .sharing import refuse

Stages = Dict[str, int]  # path of a part -> its stage

_SEQUENCES = (nn.Sequential, nn.ModuleList)


def list_parts(model: nn.Module, prefix: str = "") -> List[str]:
    """Paths of the parts of a model, in the order in which it names them."""
    parts: List[str] = []
    for name, child in model.named_children():
        path = prefix + name
        parts += list_parts(child, f"{path}.") if isinstance(child, _SEQUENCES) else [path]
    return parts


def assign_stages(model: nn.Module, setting: ModeSetting) -> Stages:
    """The stage of each part, so that the stage with the most multiply-adds has least.

    Raises InputError for a model of fewer parts than ranks, and for parameters outside of all.
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
    """The stage of each part: runs, none empty, the largest sum of a run as small as it can be.

    Of equal cuts the latest: what works for nothing, such as a pooling, stays with what is before
    it, and mostly makes what crosses the cut smaller.
    """

    @lru_cache(maxsize=None)
    def best(first: int, left: int) -> Tuple[int, Tuple[int, ...]]:
        """(largest sum, lengths of the runs) of the parts from `first` on in `left` runs."""
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
    """Make an objective's tensors global: the model's on their stages' ranks, others on all."""
    for path, stage in stages.items():
        _find(objective.model, path).to_global(
            placement=_place(everywhere.type, stage), sbp=flow.sbp.broadcast
        )
    for name, child in objective.named_children():
        if name != "model":
            child.to_global(placement=everywhere, sbp=flow.sbp.broadcast)


def set_stages(block: Any, stages: Stages, device: str) -> None:
    """Tell a graph's stand-in for a module (`block`) the stages of the module's parts."""
    for path, stage in stages.items():
        part = _find(block, path).to(nn.graph.GraphModule)
        part.set_stage(stage, _place(device, stage))


def _place(device: str, stage: int) -> Any:
    return flow.placement(device, [stage])


def _find(root: Any, path: str) -> Any:
    for name in path.split("."):
        root = root[int(name)] if name.isdigit() else getattr(root, name)
    return root
