"""SqueezeNet (Iandola et al., 2016, arXiv:1602.07360), layers and names as torchvision's."""

from __future__ import annotations

from functools import partial
from typing import List, Optional, Tuple

import oneflow as flow
from oneflow import nn

from .registry import register_model

# squeezed and expanded channels of each fire module; None is a 3x3 max pooling of stride 2
_Fires = List[Optional[Tuple[int, int]]]
_A, _B, _C, _D = (16, 64), (32, 128), (48, 192), (64, 256)
_FIRES_1_0: _Fires = [None, _A, _A, _B, None, _B, _C, _C, _D, None, _D]
_FIRES_1_1: _Fires = [None, _A, _A, None, _B, _B, None, _C, _C, _D, _D]


class Fire(nn.Module):
    """Squeeze by a 1x1 convolution, expand by 1x1 and 3x3 ones: 2 * `expanded` channels."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.expand3x3_activation = nn.ReLU()

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        pointwise = self.expand1x1_activation(self.expand1x1(x))
        spatial = self.expand3x3_activation(self.expand3x3(x))
        return flow.cat([pointwise, spatial], dim=1)


class SqueezeNet(nn.Module):
    """Input (B, 3, H, W); output (B, num_classes).

    Torchvision's initialisation (the paper gives none): convolutions uniform by He et al.
    (arXiv:1502.01852, fan-in), the last one N(0, 0.01), biases zero.
    """

    def __init__(
        self, stem_width: int, kernel: int, fires: _Fires, num_classes: int, dropout: float = 0.5
    ) -> None:
        super().__init__()
        channels = stem_width
        layers: List[nn.Module] = [nn.Conv2d(3, channels, kernel, stride=2), nn.ReLU()]
        for fire in fires:
            if fire is None:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            else:
                layers.append(Fire(channels, *fire))
                channels = 2 * fire[1]
        self.features = nn.Sequential(*layers)
        last = nn.Conv2d(channels, num_classes, 1)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), last, nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1))
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.constant_(layer.bias, 0.0)
        nn.init.normal_(last.weight, 0.0, 0.01)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return flow.flatten(self.classifier(self.features(x)), 1)


register_model(partial(SqueezeNet, 96, 7, _FIRES_1_0), "squeezenet1_0")
# the authors' later version with 2.4 times less computation
register_model(partial(SqueezeNet, 64, 3, _FIRES_1_1), "squeezenet1_1")
