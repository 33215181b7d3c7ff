"""Two linear layers split among the ranks: the first by columns, the second by rows.

Shoeybi et al. 2019, arXiv:1909.08053, section 3: each rank has a part of the hidden width, and one
sum over the ranks behind the second layer joins them again. Around the pair the batch is split, so
its inputs are gathered before and its outputs scattered behind.
"""

from __future__ import annotations

from typing import List, Tuple

import oneflow as flow
from oneflow import nn
from oneflow.nn import functional

MIN_WIDTH = 64  # below it a layer is not worth the exchange
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


class ColumnLinear(nn.Linear):
    """A linear layer of which each rank computes some outputs, for the whole batch."""

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return functional.linear(x.to_global(sbp=flow.sbp.broadcast), self.weight, self.bias)


class RowLinear(nn.Linear):
    """A linear layer of which each rank has some inputs; it leaves the batch split."""

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        output = functional.linear(x, self.weight, None).to_global(sbp=flow.sbp.split(0))
        return output if self.bias is None else output + self.bias


def find_pairs(model: nn.Module, ranks: int) -> List[Pair]:
    """Linear layers to be split, two and two, none of them in two pairs.

    The second follows on the first in the order in which the model names its layers, with only
    activations and dropout between them; the width between them is `MIN_WIDTH` or more and divides
    by the ranks. A forward that runs them otherwise is still computed rightly, only moving more:
    global tensors keep the mathematics.
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
    """Split the layers of pairs whose parameters are global tensors that each rank holds whole."""
    for column, row in pairs:
        # another class for the same module: its place and names stay as the checkpoints know them
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
