"""Expressions that build a layer again, for every leaf class the zoo uses and then some."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import oneflow as flow
import pytest
from oneflow import nn

from oneflow_bench.bench.parity.expressions import (
    find_constructor,
    write_optimizer,
    write_schedule,
)
from oneflow_bench.models import create_model

pytestmark = pytest.mark.oneflow

MODELS = Path(__file__).resolve().parents[3] / "models"

IMAGE, WIDE, ROW, LINE, VOLUME = (2, 4, 9, 9), (2, 4, 5, 7), (3, 4), (2, 4, 9), (2, 4, 5, 5, 5)
LAYERS = [
    (nn.Conv2d(4, 8, 3), IMAGE, "nn.Conv2d(4, 8, kernel_size=(3, 3))"),
    (nn.Conv2d(4, 8, (3, 1), stride=2, padding=(1, 0), dilation=2, groups=4, bias=False), IMAGE,
     "nn.Conv2d(4, 8, kernel_size=(3, 1), stride=(2, 2), padding=(1, 0), dilation=(2, 2), "
     "groups=4, bias=False)"),
    (nn.Conv2d(4, 4, 3, padding="same"), IMAGE, None),
    (nn.Conv1d(4, 6, 3, padding=1), LINE, None),
    (nn.Conv3d(4, 2, 3, stride=2), VOLUME, None),
    (nn.Linear(4, 3), ROW, "nn.Linear(4, 3)"),
    (nn.Linear(4, 3, bias=False), ROW, "nn.Linear(4, 3, bias=False)"),
    (nn.BatchNorm2d(4), IMAGE, "nn.BatchNorm2d(4)"),
    (nn.BatchNorm2d(4, eps=1e-3, momentum=0.01), IMAGE,
     "nn.BatchNorm2d(4, eps=0.001, momentum=0.01)"),
    (nn.BatchNorm2d(4, affine=False), IMAGE, "nn.BatchNorm2d(4, affine=False)"),
    (nn.BatchNorm2d(4, track_running_stats=False), IMAGE,
     "nn.BatchNorm2d(4, track_running_stats=False)"),
    (nn.BatchNorm1d(4), ROW, "nn.BatchNorm1d(4)"),
    (nn.BatchNorm3d(4), VOLUME, None),
    (nn.GroupNorm(2, 4, eps=1e-3), IMAGE, "nn.GroupNorm(2, 4, eps=0.001)"),
    (nn.LayerNorm(4, elementwise_affine=False), ROW, None),
    (nn.LayerNorm((9, 9), eps=1e-3), IMAGE, "nn.LayerNorm((9, 9), eps=0.001)"),
    (nn.MaxPool2d(2), IMAGE, "nn.MaxPool2d(kernel_size=(2, 2), stride=(2, 2))"),
    (nn.MaxPool2d(3, 2, padding=1, dilation=2, ceil_mode=True), IMAGE,
     "nn.MaxPool2d(kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), dilation=(2, 2), "
     "ceil_mode=True)"),
    (nn.MaxPool2d(2, return_indices=True), IMAGE, None),
    (nn.MaxPool1d(3, 2, 1), LINE, None),
    (nn.MaxPool3d(2), VOLUME, None),
    (nn.AvgPool2d(3, 1, 1, count_include_pad=False), WIDE,
     "nn.AvgPool2d(kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), count_include_pad=False)"),
    (nn.AvgPool2d(2, ceil_mode=True, divisor_override=3), WIDE, None),
    (nn.AvgPool1d(3, 2, 1, count_include_pad=False), LINE, None),
    (nn.AvgPool3d(2), VOLUME, None),
    (nn.AdaptiveAvgPool2d((2, 3)), IMAGE, "nn.AdaptiveAvgPool2d((2, 3))"),
    (nn.AdaptiveAvgPool2d(1), IMAGE, "nn.AdaptiveAvgPool2d((1, 1))"),
    (nn.AdaptiveAvgPool2d((None, 2)), IMAGE, "nn.AdaptiveAvgPool2d((None, 2))"),
    (nn.AdaptiveAvgPool1d(3), LINE, "nn.AdaptiveAvgPool1d((3,))"),
    (nn.AdaptiveAvgPool3d(2), VOLUME, None),
    (nn.Dropout(0.3), ROW, "nn.Dropout(p=0.3)"),
    (nn.Dropout(0.5, inplace=True), ROW, "nn.Dropout(p=0.5, inplace=True)"),
    (nn.Flatten(), IMAGE, "nn.Flatten()"),
    (nn.Flatten(2, 3), IMAGE, "nn.Flatten(start_dim=2, end_dim=3)"),
    (nn.Identity(), ROW, "nn.Identity()"),
    *[(cls(), ROW, f"nn.{cls.__name__}()") for cls in (nn.Sigmoid, nn.Tanh, nn.LogSigmoid)],
    *[
        (cls(inplace=inplace), ROW, f"nn.{cls.__name__}({'inplace=True' if inplace else ''})")
        for cls in (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Mish, nn.SELU, nn.Softsign, nn.Hardswish,
                    nn.Hardsigmoid)
        for inplace in (False, True)
    ],
    (nn.GELU("tanh"), ROW, "nn.GELU(approximate='tanh')"),
    (nn.ELU(0.7), ROW, "nn.ELU(alpha=0.7)"),
    (nn.CELU(0.7, True), ROW, "nn.CELU(alpha=0.7, inplace=True)"),
    (nn.LeakyReLU(0.2), ROW, "nn.LeakyReLU(negative_slope=0.2)"),
    (nn.Hardtanh(-2.0, 0.5), ROW, "nn.Hardtanh(min_val=-2.0, max_val=0.5)"),
    (nn.Softplus(2, 10), ROW, "nn.Softplus(beta=2, threshold=10)"),
    (nn.PReLU(4), ROW, "nn.PReLU(num_parameters=4)"),
    (nn.Softmax(dim=1), ROW, "nn.Softmax(dim=1)"),
    (nn.LogSoftmax(dim=1), ROW, "nn.LogSoftmax(dim=1)"),
]  # fmt: skip


def call(layer, shape):
    values = np.random.RandomState(0).randn(*shape).astype(np.float32) * 4
    output = layer(flow.tensor(values))
    return [t.numpy().copy() for t in (output if isinstance(output, (tuple, list)) else [output])]


@pytest.mark.parametrize(
    "layer, shape, expected",
    LAYERS,
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
@pytest.mark.parametrize("training", [True, False])
def test_the_expression_builds_an_equal_layer(layer, shape, expected, training):
    expression = find_constructor(layer)
    assert expression is not None
    if expected is not None:
        assert expression == expected
    built = eval(expression, {"nn": nn})
    assert type(built) is type(layer)
    # padding="same" is kept as a list
    assert repr(built) == repr(layer).replace("[1, 1]", "(1, 1)")
    assert find_constructor(built) == expression
    built.load_state_dict(layer.state_dict())
    if hasattr(layer, "generator"):
        layer.generator.manual_seed(layer.generator.initial_seed())
    outputs = call(built.train(training), shape), call(layer.train(training), shape)
    assert len(outputs[0]) == len(outputs[1])
    for ours, theirs in zip(*outputs):
        assert ours.tobytes() == theirs.tobytes()


def test_every_leaf_class_named_in_the_models_is_among_them():
    source = "".join(path.read_text(encoding="utf-8") for path in MODELS.glob("*.py"))
    used = {name for name in re.findall(r"\bnn\.([A-Z]\w+)", source)} - {"Module", "Sequential"}
    assert len(used) > 12
    assert used <= {type(layer).__name__ for layer, _, _ in LAYERS}


@pytest.mark.parametrize("name", ["lenet", "alexnet_cifar", "mobilenet_v3_small"])
def test_every_leaf_of_a_model_has_an_expression(name):
    leaves = [m for m in create_model(name).modules() if next(m.children(), None) is None]
    assert len(leaves) > 8
    assert [type(leaf).__name__ for leaf in leaves if find_constructor(leaf) is None] == []


class OwnReLU(nn.ReLU):
    """Somebody's own class, even with the behaviour of OneFlow's."""


def with_forward():
    layer = nn.ReLU()
    object.__setattr__(layer, "forward", lambda x: x)
    return layer


def with_hook():
    layer = nn.ReLU()
    layer.register_forward_hook(lambda module, inputs, output: output * 2)
    return layer


def with_mask():
    layer = nn.Linear(2, 2)
    layer.register_buffer("mask", flow.ones(2, 2))
    return layer


def with_seed():
    layer = nn.Dropout(0.5)
    layer.generator.manual_seed(7)
    return layer


def with_odd_slope():
    layer = nn.LeakyReLU()
    layer.negative_slope = np.zeros(2)
    return layer


@pytest.mark.parametrize(
    "create",
    [
        OwnReLU,
        type("ReLU", (nn.Module,), {"inplace": False}),
        lambda: nn.Sequential(nn.ReLU()),
        lambda: nn.CrossEntropyLoss(),
        with_forward,
        with_hook,
        with_mask,
        with_seed,
        with_odd_slope,
    ],
)
def test_what_no_expression_builds_has_none(create):
    assert find_constructor(create()) is None


def test_values_without_a_plain_literal_are_written_all_the_same():
    layer = nn.Hardtanh(-1.0, float("inf"))
    expression = find_constructor(layer)
    assert expression == "nn.Hardtanh(max_val=float('inf'))"
    assert eval(expression, {"nn": nn}).max_val == float("inf")


def test_an_optimizer_is_built_again_with_its_groups_and_a_schedule_with_its_arguments():
    layer = nn.Linear(3, 2)
    clipped = {"clip_grad_max_norm": 0.5, "clip_grad_norm_type": 2.0}
    optimizer = flow.optim.AdamW(
        [{"params": [layer.bias], "weight_decay": 0.0}, {"params": [layer.weight], **clipped}],
        lr=0.01, betas=(0.8, 0.99), weight_decay=0.1,
    )  # fmt: skip
    schedule = flow.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 4], gamma=0.5)
    names = {"flow": flow, "named": dict(layer.named_parameters())}
    built = names["optimizer"] = eval(write_optimizer(optimizer, layer), names)
    for group, original in zip(built.param_groups, optimizer.param_groups):
        assert [id(p) for p in group.parameters] == [id(p) for p in original.parameters]
        options = {k: v for k, v in original.options.items() if k != "initial_lr"}
        assert {key: group.options[key] for key in options} == options
    again = eval(write_schedule(schedule), names)
    assert (list(again.milestones), again.gamma) == ([2, 4], 0.5)


def test_an_optimizer_of_ones_own_class_is_refused():
    class Own(flow.optim.SGD):
        pass

    layer = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="the optimizer Own, which is not one of OneFlow's own"):
        write_optimizer(Own(layer.parameters(), lr=0.1), layer)
