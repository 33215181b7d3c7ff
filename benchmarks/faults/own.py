"""A user's models whose graph is at fault, one kind each, for all doors of the parity check.

The kind is named by the variable PLANTED_KIND. `model` is the factory for `--model`, `loss` for
`--loss`, and `create_optimizer` for `assert_parity`. The same file is imported on both sides. It
computes something else only while OneFlow traces a graph, or when a graph asks the optimizer for
its configuration, or after a call of a graph.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Optional, Tuple

import oneflow as flow
from oneflow import nn
from oneflow.nn import functional

VARIABLE = "PLANTED_KIND"
DOORS = ("check", "compare", "assert")

# levels, as regular expressions, so that levels added later fit too
OUTPUTS = "forward"
EVALUATION = "^eval forward"
TRAINING = "^forward"
LOSS = "^loss$"
GRADIENTS = "gradient"
UPDATE = "first update"
LATER = "loss curve|trained|later|step"
AFTER = "validation|after"
ANY = "."

# causes, by the words of the report
RANDOM, FROZEN, HOOK, ASSIGNED, IN_PLACE, STOPPED, UNCOMPILED = (
    "random operator", "frozen at trace time", "hooks", "assigned in forward", "input changed",
    "gradient stopped", "does not compile",
)  # fmt: skip

Forward = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Kind:
    """One kind of fault. `eager` and `graph` are the forwards of the module `block`.

    The check must name a level that fits `levels`, a tensor that fits `names` and the `cause`; a
    kind without a cause must get none. `flags` are those of `bench check` and `bench compare`.
    `plant` changes OneFlow's own classes when this file is imported. A kind with the status 0 is a
    control, with nothing planted.
    """

    name: str
    eager: Forward
    graph: Forward
    levels: str = OUTPUTS
    names: str = r"^block"
    cause: Optional[str] = None
    children: Callable[[], Dict[str, Any]] = dict
    flags: Dict[str, Any] = field(default_factory=dict)
    plant: Optional[Callable[[], None]] = None
    statuses: Tuple[int, ...] = (1,)  # that tell the fault by `bench`; `assert_parity` raises
    doors: Tuple[str, ...] = DOORS
    tokens: bool = False  # the block takes (N, 16) ids instead of (N, 8, 8, 8)

    @property
    def is_control(self) -> bool:
        return self.statuses == (0,)


KINDS: Dict[str, Kind] = {}


def add(name: str, eager: Forward, graph: Optional[Forward] = None, **more: Any) -> None:
    """Register a kind; without a `graph` both sides run the same code and trace it differently."""
    assert name not in KINDS, name
    KINDS[name] = Kind(name, eager, graph or eager, **more)


def in_graph() -> bool:
    """True while a graph is traced."""
    return bool(flow._oneflow_internal.lazy_mode.is_enabled())


class Block(nn.Module):
    """The module that is at fault."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.calls, self.flag, self.temperature = 0, False, 1.0
        for name, child in KINDS[kind].children().items():
            if isinstance(child, flow.Tensor) and not isinstance(child, nn.Parameter):
                if name.startswith("plain"):
                    object.__setattr__(self, name, child)
                else:
                    self.register_buffer(name, child, persistent=not name.startswith("hidden"))
            else:
                setattr(self, name, child)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        kind = KINDS[self.kind]
        return (kind.graph if in_graph() else kind.eager)(self, x)


class ImageNet(nn.Module):
    """A convolution, the block on (N, 8, H / 4, W / 4), and a classifier."""

    def __init__(self, block: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.block = block
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        return self.head(self.block(self.stem(x)).mean(dim=(2, 3)))


class TokenNet(nn.Module):
    """16 tokens from the pixels of an image, embedded; the block on (N, 16, 8); a classifier."""

    def __init__(self, block: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.block = block
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: flow.Tensor) -> flow.Tensor:
        ids = (x[:, 0, :4, :4].abs() * 7.0).to(flow.int64) % 11
        return self.head(self.block(ids.reshape(x.shape[0], 16)).mean(dim=1))


def model(num_classes: int = 10) -> nn.Module:
    """The model of the kind that PLANTED_KIND names."""
    kind = KINDS[os.environ[VARIABLE]]
    if kind.name == _RESNET:
        return _scaled_resnet(num_classes)
    net = (TokenNet if kind.tokens else ImageNet)(Block(kind.name), num_classes)
    if kind.name in _PREPARE:
        _PREPARE[kind.name](net)
    return net


def loss(outputs: flow.Tensor, labels: flow.Tensor) -> flow.Tensor:
    """Cross entropy, with the fault of a kind whose name begins with "loss"."""
    kind = os.environ[VARIABLE]
    value = functional.cross_entropy(outputs, labels)
    if in_graph() and kind in _LOSSES:
        return _LOSSES[kind](value, outputs, labels)
    return value


def create_optimizer(net: nn.Module) -> flow.optim.Optimizer:
    """The optimizer of the kind's flags, over all parameters."""
    flags = KINDS[os.environ[VARIABLE]].flags
    group: Dict[str, Any] = {"params": list(net.parameters())}
    if "clip_norm" in flags:
        group.update(clip_grad_max_norm=flags["clip_norm"], clip_grad_norm_type=2.0)
    if flags.get("optimizer") in ("adam", "adamw"):
        cls = {"adam": flow.optim.Adam, "adamw": flow.optim.AdamW}[flags["optimizer"]]
        return cls([group], lr=0.001, weight_decay=0.01)
    return flow.optim.SGD([group], lr=0.01, momentum=0.9, weight_decay=0.01)


_PREPARE: Dict[str, Callable[[nn.Module], None]] = {}
_LOSSES: Dict[str, Callable[..., Any]] = {}
_RESNET = "gradient scale 1e-4 in layer1 of resnet18"


class _ScaledGradient(nn.Conv2d):
    def forward(self, x: flow.Tensor) -> flow.Tensor:
        weight = self.weight
        if in_graph():
            weight = weight + 1e-4 * (weight - weight.detach())
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


def _scaled_resnet(num_classes: int) -> nn.Module:
    from oneflow_bench.models import create_model

    net = create_model("resnet18", num_classes=num_classes)
    conv = net.layer1[0].conv1
    scaled = _ScaledGradient(64, 64, 3, padding=1, bias=False)
    scaled.load_state_dict(conv.state_dict())
    net.layer1[0].conv1 = scaled
    return net


from faults import own_kinds, own_state, own_training  # noqa: E402, F401  (they fill KINDS)

_chosen = KINDS.get(os.environ.get(VARIABLE, ""))
if _chosen is not None and _chosen.plant is not None:
    _chosen.plant()
