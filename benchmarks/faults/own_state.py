"""Kinds of faults in random draws, traced values, state and hooks; see `own.py`."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import oneflow as flow
from oneflow import nn
from oneflow.nn import functional

from faults import own
from faults.own import ASSIGNED, FROZEN, HOOK, IN_PLACE, LATER, RANDOM, UNCOMPILED, UPDATE, add
from faults.own_kinds import CHANNELS, SIZE, conv, norm, run_conv


# random draws
def drop_path(m: Any, x: Any) -> Any:
    kept = flow.bernoulli(flow.ones(x.shape[0], 1, 1, 1) * 0.5)
    return x * kept


RANDOMLY = dict(cause=RANDOM, statuses=(1, 3), levels="forward")
add("functional dropout", lambda m, x: functional.dropout(x, 0.3, m.training), **RANDOMLY)
add("stochastic depth", lambda m, x: drop_path(m, x) if m.training else x, **RANDOMLY)
add(
    "one dropout called twice",
    lambda m, x: m.drop(m.drop(x)),
    **RANDOMLY,
    children=lambda: {"drop": nn.Dropout(0.3)},
)
add("mixup by randperm", lambda m, x: 0.7 * x + 0.3 * x[flow.randperm(x.shape[0])], **RANDOMLY)
add("noise by rand", lambda m, x: x + 0.1 * flow.rand(*x.shape), **RANDOMLY)
add(
    "fault behind dropout noise",
    lambda m, x: functional.dropout(x, 0.3, m.training),
    lambda m, x: functional.dropout(x, 0.3, m.training) * 1.05,
    **{**RANDOMLY, "statuses": (1,)},
)


# frozen at trace time
def count(m: Any, x: Any) -> Any:
    m.calls = m.calls + int(m.training)
    return x * (1.0 + 0.1 * m.calls)


def anneal(m: Any, x: Any) -> Any:
    if m.training:
        m.temperature = m.temperature * 0.9
    return x / m.temperature


def drop_layer(m: Any, x: Any) -> Any:
    m.calls = m.calls + int(m.training)
    return x if random.Random(m.calls).random() < 0.5 else m.conv(x)


def freeze_norm(m: Any, x: Any) -> Any:
    m.calls = m.calls + int(m.training)
    if m.calls >= 3:
        m.norm.eval()
    return m.norm(x)


def unfreeze(m: Any, x: Any) -> Any:
    m.calls = m.calls + int(m.training)
    weight, bias = m.conv.weight, m.conv.bias
    if m.calls < 3:
        weight, bias = weight.detach(), bias.detach()
    return functional.conv2d(x, weight, bias, (1, 1), (1, 1))


def draw_by_numpy(m: Any, x: Any) -> Any:
    m.calls = m.calls + int(m.training)
    noise = np.random.RandomState(m.calls).randn(*x.shape).astype(np.float32)
    return x + 0.1 * flow.tensor(noise, dtype=x.dtype) if m.training else x


def flag_once(m: Any, x: Any) -> Any:
    factor = 2.0 if m.flag else 1.0
    m.flag = m.flag or m.training
    return x * factor


LATELY = dict(cause=FROZEN, levels=f"{LATER}|forward", names=".")
add("Python counter", count, **LATELY)
add("annealed temperature", anneal, **LATELY)
add("layer drop", drop_layer, **LATELY, children=conv())
add("batch norm frozen from call 3", freeze_norm, **LATELY, children=norm())
add("unfreezing in forward", unfreeze, **LATELY, children=conv())
add("NumPy noise", draw_by_numpy, **LATELY)
add("training flag", flag_once, **LATELY)


# state that forward assigns
def keep_buffer(name: str) -> Any:
    def forward(m: Any, x: Any) -> Any:
        state = getattr(m, name)
        y = x + state
        if m.training:
            setattr(m, name, x.detach().mean(dim=(0, 2, 3), keepdim=True))
        return y

    return forward


def keep_plain(m: Any, x: Any) -> Any:
    y = x + m.plain_state
    if m.training:
        m.plain_state = x.detach().mean(dim=(0, 2, 3), keepdim=True)
    return y


def normalize_spectrally(m: Any, x: Any) -> Any:
    weight = m.conv.weight
    flat = weight.reshape(CHANNELS, -1)
    u = functional.normalize(flow.matmul(flat, flow.matmul(flat.t(), m.u)), dim=0)
    sigma = flow.sqrt(((flow.matmul(flat.t(), u)) ** 2).sum())
    if m.training:
        m.u = u.detach()
    return functional.conv2d(x, weight / sigma, None, (1, 1), (1, 1))


STATE = dict(cause=ASSIGNED, levels=f"{LATER}|forward|first update", names=".")
add(
    "buffer assigned in forward",
    keep_buffer("state"),
    **STATE,
    children=lambda: {"state": flow.zeros(1, CHANNELS, 1, 1)},
)
add(
    "non-persistent buffer",
    keep_buffer("hidden_state"),
    **STATE,
    children=lambda: {"hidden_state": flow.zeros(1, CHANNELS, 1, 1)},
)
add(
    "plain tensor attribute",
    keep_plain,
    **STATE,
    children=lambda: {"plain_state": flow.zeros(1, CHANNELS, 1, 1)},
)
add(
    "spectral norm",
    normalize_spectrally,
    **STATE,
    children=lambda: {**conv(bias=False)(), "u": flow.ones(CHANNELS, 1)},
)
add(
    "hidden state kept across steps",
    lambda m, x: _recur(m, x),
    **STATE,
    children=lambda: {"hidden_state": flow.zeros(1, CHANNELS, 1, 1)},
)
add(
    "weight clamp",
    lambda m, x: _clamp(m, x),
    levels=f"{UPDATE}|{LATER}|forward",
    names=".",
    cause=ASSIGNED,
    children=conv(),
)


def _recur(m: Any, x: Any) -> Any:
    y = flow.tanh(x + 0.5 * m.hidden_state)
    if m.training:
        m.hidden_state = y.detach().mean(dim=(0, 2, 3), keepdim=True)
    return y


def _clamp(m: Any, x: Any) -> Any:
    if not own.in_graph():
        with flow.no_grad():
            m.conv.weight.clamp_(-0.05, 0.05)
    return m.conv(x)


# hooks and in-place work
HOOKED = dict(cause=HOOK, levels="forward|gradient", children=conv())
add("forward hook that does not fire", run_conv, **HOOKED)
add("forward pre-hook that does not fire", run_conv, **HOOKED)
add(
    "in-place input",
    lambda m, x: x * 1.0,
    levels="batches|forward|loss curve",
    names=".",
    cause=IN_PLACE,
)


def _hook_after(net: Any) -> None:
    net.block.conv.register_forward_hook(lambda module, inputs, output: output * 1.1)


def _hook_before(net: Any) -> None:
    net.block.conv.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 1.1,))


def _work_in_place(net: Any) -> None:
    net.__class__ = _InPlaceNet


class _InPlaceNet(own.ImageNet):
    def forward(self, x: flow.Tensor) -> flow.Tensor:
        x.mul_(0.5)
        return own.ImageNet.forward(self, x)  # a graph's stand-in has no super()


own._PREPARE.update(
    {
        "forward hook that does not fire": _hook_after,
        "forward pre-hook that does not fire": _hook_before,
        "in-place input": _work_in_place,
    }
)

# a graph that cannot be traced
REFUSED = dict(cause=UNCOMPILED, levels=".", names=".", statuses=(2,))
add("branch on a tensor", lambda m, x: x * 2 if x.mean() > 0 else x * 1.0, **REFUSED)
add("number taken by item()", lambda m, x: x * float(x.abs().max().item()), **REFUSED)
add("array taken by numpy()", lambda m, x: x * float(x.numpy().mean()), **REFUSED)


def _make_lazily(m: Any, x: Any) -> Any:
    if m.flag is False:
        m.late = nn.Linear(SIZE, SIZE)
        m.flag = True
    return m.late(x)


add("lazily made layer", _make_lazily, **REFUSED)
