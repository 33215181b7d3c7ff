"""EfficientNet (Tan and Le, 2019, arXiv:1905.11946), layers and names as torchvision's."""

from __future__ import annotations

import math
from functools import partial
from typing import List

import oneflow as flow
from oneflow import nn

from .blocks import SqueezeExcitation, create_conv_norm
from .initialisation import initialise_he
from .registry import register_model

# expansion, kernel, stride of the first block, channels, blocks: table 1 of the paper
_STAGES = [
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
]
_LAST_CHANNELS = 1280


class StochasticDepth(nn.Module):
    """Huang et al. 2016 (arXiv:1603.09382): leaves out a residual branch, sample by sample.

    In training each sample of (B, C, H, W) becomes zero with `probability` and is divided by
    1 - probability otherwise. OneFlow's free random operators differ between eager and graph mode;
    `nn.Dropout` does not, but all its instances start from one seed, so that equal shapes draw
    equal masks. Each of `num_blocks` blocks therefore draws for all of them and takes its own row.
    """

    def __init__(self, probability: float, block: int, num_blocks: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(probability)
        self._block = block
        self._num_blocks = num_blocks

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        if not self.training or self.dropout.p == 0.0:
            return x
        masks = self.dropout(x.new_ones((self._num_blocks, x.shape[0], 1, 1, 1)))
        return x * masks[self._block]


class MBConv(nn.Module):
    """Widen, convolve each channel by itself, gate, narrow; a shortcut where sizes agree."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        expansion: int,
        stochastic_depth: StochasticDepth,
    ) -> None:
        super().__init__()
        create = partial(create_conv_norm, activation=nn.SiLU)
        inner = inputs * expansion
        layers: List[nn.Module] = []
        if expansion != 1:
            layers.append(create(inputs, inner, 1))
        layers.append(create(inner, inner, kernel, stride, inner))
        layers.append(SqueezeExcitation(inner, max(1, inputs // 4), activation=nn.SiLU))
        layers.append(create(inner, outputs, 1, activation=None))
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = stochastic_depth
        self._shortcut = stride == 1 and inputs == outputs

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        if self._shortcut:
            return x + self.stochastic_depth(self.block(x))
        return self.block(x)


class EfficientNet(nn.Module):
    """Input (B, 3, H, W); output (B, num_classes).

    Convolutions by He et al. (fan-out), the linear layer uniform within 1 / sqrt(num_classes): the
    authors' released code's, as in torchvision; the paper gives none. The probability of leaving
    out a block grows from 0 to nearly `stochastic_depth`.
    """

    def __init__(
        self, num_classes: int, dropout: float = 0.2, stochastic_depth: float = 0.2
    ) -> None:
        super().__init__()
        layers: List[nn.Module] = [create_conv_norm(3, 32, 3, 2, activation=nn.SiLU)]
        num_blocks = sum(stage[-1] for stage in _STAGES)
        inputs, block = 32, 0
        for expansion, kernel, first_stride, outputs, blocks in _STAGES:
            stage = []
            for number in range(blocks):
                stride = first_stride if number == 0 else 1
                skip = StochasticDepth(stochastic_depth * block / num_blocks, block, num_blocks)
                stage.append(MBConv(inputs, outputs, kernel, stride, expansion, skip))
                inputs, block = outputs, block + 1
            layers.append(nn.Sequential(*stage))
        layers.append(create_conv_norm(inputs, _LAST_CHANNELS, 1, activation=nn.SiLU))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        linear = nn.Linear(_LAST_CHANNELS, num_classes)
        self.classifier = nn.Sequential(nn.Dropout(dropout), linear)
        initialise_he(self)
        bound = 1.0 / math.sqrt(num_classes)
        nn.init.uniform_(linear.weight, -bound, bound)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.classifier(flow.flatten(self.avgpool(self.features(x)), 1))


register_model(EfficientNet, "efficientnet_b0")
