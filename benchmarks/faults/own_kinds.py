"""Kinds of faults in a function, an argument or a gradient; see `own.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import oneflow as flow
from oneflow import nn
from oneflow.nn import functional

from faults import own
from faults.own import EVALUATION, GRADIENTS, TRAINING, add

SIZE, CHANNELS = 8, 8


def conv(**more: Any) -> Any:
    return lambda: {"conv": nn.Conv2d(CHANNELS, CHANNELS, 3, **{"padding": 1, **more})}


def scaled(factor: float) -> Any:
    return lambda m, x: x * factor


def same(m: Any, x: Any) -> Any:
    return x * 1.0


def run_conv(m: Any, x: Any) -> Any:
    return m.conv(x)


def run_norm(m: Any, x: Any) -> Any:
    return m.norm(x)


def norm(**more: Any) -> Any:
    return lambda: {"norm": nn.BatchNorm2d(CHANNELS, **more)}


# wrong functions and arguments, in both passes
add(
    "activation times a slope",
    lambda m, x: flow.relu(x),
    lambda m, x: functional.leaky_relu(x, 1e-4),
)
add("activation skipped", lambda m, x: flow.relu(x), same)
add(
    "activation doubled",
    lambda m, x: functional.silu(x),
    lambda m, x: functional.silu(functional.silu(x)),
)
add(
    "tanh approximation of GELU",
    lambda m, x: functional.gelu(x),
    lambda m, x: 0.5 * x * (1 + flow.tanh(0.7978845608 * (x + 0.044715 * x * x * x))),
)
add("ReLU6 instead of ReLU", lambda m, x: flow.relu(x * 20), lambda m, x: functional.relu6(x * 20))
add("output scaled by 1e-4", same, scaled(1.0001))
add("output scaled by 1e-5", same, scaled(1.00001))
add("constant added", same, lambda m, x: x + 1e-3)
add("sign turned", same, scaled(-1.0))
add("two channels swapped", same, lambda m, x: flow.cat([x[:, 1:2], x[:, :1], x[:, 2:]], dim=1))
add("image transposed", same, lambda m, x: x.transpose(2, 3) * 1.0)
add("image flipped", same, lambda m, x: flow.flip(x, [3]))
add(
    "weight transposed",
    lambda m, x: functional.conv2d(x, m.conv.weight, None, (1, 1), (1, 1)),
    lambda m, x: functional.conv2d(
        x, m.conv.weight.transpose(2, 3).contiguous(), None, (1, 1), (1, 1)
    ),
    children=conv(),
)
add(
    "bias left out",
    run_conv,
    lambda m, x: functional.conv2d(x, m.conv.weight, None, (1, 1), (1, 1)),
    children=conv(),
)
add("layer skipped", run_conv, same, children=conv())
add("layer twice", run_conv, lambda m, x: m.conv(m.conv(x)), children=conv())
add("skip connection lost", lambda m, x: x + m.conv(x), run_conv, children=conv())
add("float16 round trip", same, lambda m, x: x.to(flow.float16).to(x.dtype))
add(
    "wrong padding mode",
    lambda m, x: functional.pad(x, (1, 1, 1, 1), mode="reflect"),
    lambda m, x: functional.pad(x, (1, 1, 1, 1), mode="replicate"),
)
add(
    "zero instead of reflected border",
    lambda m, x: functional.pad(x, (1, 1, 1, 1), "reflect"),
    lambda m, x: functional.pad(x, (1, 1, 1, 1)),
)
add(
    "border off by one",
    lambda m, x: functional.pad(x, (1, 1, 1, 1)),
    lambda m, x: functional.pad(x, (2, 0, 2, 0)),
)
add(
    "ceil_mode of a pool",
    lambda m, x: functional.max_pool2d(x, 3, 2)[:, :, :3, :3],
    lambda m, x: functional.max_pool2d(x, 3, 2, ceil_mode=True)[:, :, 1:, 1:],
)
add(
    "mean instead of maximum pooling",
    lambda m, x: functional.max_pool2d(x, 2, 2),
    lambda m, x: functional.avg_pool2d(x, 2, 2),
)
add(
    "count_include_pad of a pool",
    lambda m, x: functional.avg_pool2d(x, 3, 2, padding=1, count_include_pad=True),
    lambda m, x: functional.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False),
)
add(
    "align_corners of an interpolation",
    lambda m, x: functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True),
    lambda m, x: functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False),
)
add(
    "nearest instead of bilinear",
    lambda m, x: functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False),
    lambda m, x: functional.interpolate(x, scale_factor=2.0, mode="nearest"),
)
add(
    "softmax over the wrong axis",
    lambda m, x: flow.softmax(x, dim=1),
    lambda m, x: flow.softmax(x, dim=2),
)
add(
    "wrong eps of a norm",
    lambda m, x: x / flow.sqrt((x * x).mean(dim=1, keepdim=True) + 1e-5),
    lambda m, x: x / flow.sqrt((x * x).mean(dim=1, keepdim=True) + 1e-3),
)
add(
    "variance unbiased in a norm",
    lambda m, x: x / (x.var(dim=1, unbiased=False, keepdim=True) + 1e-5).sqrt(),
    lambda m, x: x / (x.var(dim=1, unbiased=True, keepdim=True) + 1e-5).sqrt(),
)
add(
    "mean over the wrong axes",
    lambda m, x: x - x.mean(dim=(2, 3), keepdim=True),
    lambda m, x: x - x.mean(dim=(1, 2), keepdim=True),
)
add("values clamped", lambda m, x: x * 10, lambda m, x: flow.clamp(x * 10, -6.0, 6.0))

# tokens
TOKENS = dict(tokens=True, children=lambda: {"embedding": nn.Embedding(11, CHANNELS)})


def embed(m: Any, ids: Any) -> Any:
    return m.embedding(ids)


def attend(m: Any, ids: Any, shift: int) -> Any:
    x = m.embedding(ids)
    order = np.arange(16)
    allowed = flow.tensor((order[None, :] <= order[:, None] + shift).astype(np.float32))
    scores = flow.matmul(x, x.transpose(1, 2)) + (1.0 - allowed) * -1e9
    return flow.matmul(flow.softmax(scores, dim=-1), x)


def mask_padding(m: Any, ids: Any, padding: int) -> Any:
    kept = (ids != padding).to(flow.float32).unsqueeze(-1)
    return m.embedding(ids) * kept


def masked_logits(m: Any, ids: Any, factor: float) -> Any:
    x = m.embedding(ids)
    masked = flow.tensor((np.arange(16) == 3).astype(np.float32)).reshape(1, 16, 1)
    return x * factor * (1 - masked) + masked * -1e9


add(
    "wrong pad index of an embedding",
    lambda m, i: mask_padding(m, i, 0),
    lambda m, i: mask_padding(m, i, 1),
    **TOKENS,
)
add("causal mask off by one", lambda m, i: attend(m, i, 0), lambda m, i: attend(m, i, 1), **TOKENS)
add(
    "attention not scaled",
    lambda m, i: attend(m, i, 0) / 8.0**0.5,
    lambda m, i: attend(m, i, 0),
    **TOKENS,
)
add(
    "ids off by one",
    embed,
    lambda m, i: m.embedding((i + 1) % 11),
    **{**TOKENS, "names": r"^block"},
)
add(
    "masked logits",
    lambda m, i: masked_logits(m, i, 1.0),
    lambda m, i: masked_logits(m, i, 1.0 if m.training else -3.0),
    levels=EVALUATION,
    **TOKENS,
)
add(
    "tied weights untied",
    lambda m, i: flow.matmul(
        m.embedding(i), flow.matmul(m.embedding.weight.t(), m.embedding.weight)
    ),
    lambda m, i: flow.matmul(
        m.embedding(i),
        flow.matmul(m.embedding.weight.t(), m.embedding.weight).detach(),
    ),
    levels=GRADIENTS,
    **TOKENS,
)
add("token order reversed", embed, lambda m, i: m.embedding(flow.flip(i, [1])), **TOKENS)

# gradients
add("detach in a layer without parameters", same, lambda m, x: x.detach() + 0 * x, levels=GRADIENTS)
add("gradient halved", same, lambda m, x: 0.5 * x + 0.5 * x.detach(), levels=GRADIENTS)
add("gradient scaled by 1e-3", same, lambda m, x: x + 1e-3 * (x - x.detach()), levels=GRADIENTS)
add(
    "gradient of a branch cut",
    lambda m, x: x + m.conv(x),
    lambda m, x: x + m.conv(x.detach()),
    levels=GRADIENTS,
    children=conv(),
)
add(
    "straight-through estimator lost",
    lambda m, x: x + (flow.sign(x) - x).detach(),
    lambda m, x: flow.sign(x),
    levels=GRADIENTS,
)
add(
    "layer frozen",
    lambda m, x: functional.conv2d(x, m.conv.weight, m.conv.bias, (1, 1), (1, 1)),
    lambda m, x: functional.conv2d(x, m.conv.weight.detach(), m.conv.bias.detach(), (1, 1), (1, 1)),
    levels=GRADIENTS,
    children=conv(),
)
add(
    own._RESNET,
    same,
    levels=GRADIENTS,
    names=r"layer1\.0\.conv1",
    flags={"image_size": 64, "batch_size": 2},
)

# one pass only
add("fault in training only", same, lambda m, x: x * (1.01 if m.training else 1.0), levels=TRAINING)
add(
    "fault in evaluation only",
    same,
    lambda m, x: x * (1.0 if m.training else 1.01),
    levels=EVALUATION,
)
add(
    "dropout kept in evaluation",
    same,
    lambda m, x: x * (1.0 if m.training else 0.5),
    levels=EVALUATION,
)
add(
    "batch statistics in evaluation",
    run_norm,
    lambda m, x: m.norm(x) if m.training else functional.layer_norm(x, tuple(x.shape[1:])),
    levels=EVALUATION,
    children=norm(),
)
add(
    "dropout before instead of after",
    lambda m, x: flow.relu(m.drop(x - 0.1)),
    lambda m, x: m.drop(flow.relu(x - 0.1)),
    levels="forward",
    children=lambda: {"drop": nn.Dropout(0.5)},
)
add(
    "dropout with another p",
    lambda m, x: m.drop(x),
    lambda m, x: m.drop(x) * 0.9,
    levels="forward",
    children=lambda: {"drop": nn.Dropout(0.5)},
)
add(
    "batch norm with another momentum",
    run_norm,
    lambda m, x: m.norm(x * 1.0001),
    levels="forward|first update",
    children=norm(),
)

# nothing planted
CONTROL = dict(statuses=(0,))
add("control: convolution", run_conv, **CONTROL, children=conv())
add("control: batch norm, clipping", run_norm, **CONTROL, children=norm(), flags={"clip_norm": 0.1})
add("control: tokens, AdamW", embed, **CONTROL, **TOKENS, flags={"optimizer": "adamw", "lr": 0.001})
add(
    "control: dropout, own loss",
    lambda m, x: m.drop(x),
    **CONTROL,
    children=lambda: {"drop": nn.Dropout(0.5)},
    flags={"loss": "faults.own:loss"},
)
