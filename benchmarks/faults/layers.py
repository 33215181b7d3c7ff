"""Faults of weights, layers and gradients."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import oneflow as flow
from oneflow.nn import functional

from faults.planting import Fault, find_module, wrap_layer
from faults.training import AfterStep


def move_weight_by_ulps(fault: Fault, job: Any) -> None:
    def move(value: Any) -> Any:
        for _ in range(int(fault.size)):
            value = np.nextafter(value, np.float32(np.inf))
        return value

    _change_element(fault, job, move)


def scale_weight(fault: Fault, job: Any) -> None:
    _change_element(fault, job, lambda value: value * np.float32(1 + fault.size))


def _change_element(fault: Fault, job: Any, change: Callable[[Any], Any]) -> None:
    value = np.array(job.model.state_dict()[fault.where].numpy())
    largest = np.unravel_index(np.abs(value).argmax(), value.shape)
    value[largest] = change(value[largest])
    job.model.load_state_dict({fault.where: flow.tensor(value)}, strict=False)


def scale_hidden_weight(fault: Fault, job: Any) -> None:
    """The layer computes with a weight that is not the one in its state."""
    factor = 1.0 + fault.size

    def change(original: Any, self: Any, x: Any) -> Any:
        return original(self, x * factor)

    wrap_layer(job, fault.where, change)


def skip(fault: Fault, job: Any) -> None:
    wrap_layer(job, fault.where, lambda original, self, x: x * 1.0)


def double(fault: Fault, job: Any) -> None:
    wrap_layer(job, fault.where, lambda original, self, x: original(self, original(self, x)))


def slope(fault: Fault, job: Any) -> None:
    wrap_layer(job, fault.where, lambda original, self, x: functional.leaky_relu(x, fault.size))


def swap_channels(fault: Fault, job: Any) -> None:
    def change(original: Any, self: Any, x: Any) -> Any:
        y = original(self, x)
        return flow.cat([y[:, 1:2], y[:, 0:1], y[:, 2:]], dim=1)

    wrap_layer(job, fault.where, change)


def round_to_float16(fault: Fault, job: Any) -> None:
    def change(original: Any, self: Any, x: Any) -> Any:
        return original(self, x).to(flow.float16).to(flow.float32)

    wrap_layer(job, fault.where, change)


def shift_border(fault: Fault, job: Any) -> None:
    """Padding of 2 on one side and 0 on the other instead of 1 and 1."""

    def change(original: Any, self: Any, x: Any) -> Any:
        shifted = functional.pad(x, (1, 0, 1, 0))[:, :, : x.shape[2], : x.shape[3]]
        return original(self, shifted)

    wrap_layer(job, fault.where, change)


def pool_by_mean(fault: Fault, job: Any) -> None:
    wrap_layer(job, fault.where, lambda original, self, x: functional.avg_pool2d(x, 2, 2))


def scale_output(fault: Fault, job: Any) -> None:
    wrap_layer(job, fault.where, lambda original, self, x: original(self, x) * (1.0 + fault.size))


def add_to_output(fault: Fault, job: Any) -> None:
    wrap_layer(job, fault.where, lambda original, self, x: original(self, x) + fault.size)


def change_bn_eps(fault: Fault, job: Any) -> None:
    find_module(job, fault.where).eps = fault.size


def change_bn_momentum(fault: Fault, job: Any) -> None:
    find_module(job, fault.where).momentum = fault.size


def fix_training(fault: Fault, job: Any) -> None:
    """The layer stays in one mode, 1 train or 0 eval, whatever the model is in."""
    module = find_module(job, fault.where)
    wanted = bool(fault.size)
    object.__setattr__(module, "train", lambda mode=True: type(module).train(module, wanted))


def bias_running_variance(fault: Fault, job: Any) -> None:
    """After a step the running variance is as if the biased variance had gone into it."""
    name = f"{fault.where}.running_var"
    before = np.array(job.model.state_dict()[name].numpy())
    count = fault.size  # elements of a channel in a batch

    def bias() -> None:
        nonlocal before
        after = np.array(job.model.state_dict()[name].numpy())
        momentum = find_module(job, fault.where).momentum
        fresh = (after - (1 - momentum) * before) * (count - 1) / count
        before = ((1 - momentum) * before + fresh).astype(np.float32)
        job.model.load_state_dict({name: flow.tensor(before)}, strict=False)

    job.train_feed = AfterStep(job.train_feed, bias)


def change_dropout(fault: Fault, job: Any) -> None:
    find_module(job, fault.where).p = fault.size


def shift_dropout_mask(fault: Fault, job: Any) -> None:
    """Another draw of the same probability: the mask of the neighbouring element."""

    def change(original: Any, self: Any, x: Any) -> Any:
        return flow.roll(original(self, flow.roll(x, 1, 1)), -1, 1)

    wrap_layer(job, fault.where, change)


def scale_gradient(fault: Fault, job: Any) -> None:
    """The gradient of a layer's weight is off by a factor; its value is not touched."""

    def change(original: Any, self: Any, x: Any) -> Any:
        weight = self.weight + fault.size * (self.weight - self.weight.detach())
        if len(weight.shape) == 2:
            return functional.linear(x, weight, self.bias)
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)

    wrap_layer(job, fault.where, change)


def cut_gradient(fault: Fault, job: Any) -> None:
    wrap_layer(job, fault.where, lambda original, self, x: original(self, x.detach()))


def freeze_layer(fault: Fault, job: Any) -> None:
    module = find_module(job, fault.where)
    for parameter in module.parameters():
        parameter.requires_grad = False
    frozen = {id(p) for p in module.parameters()}
    for group in job.optimizer.param_groups:
        group._parameters = [p for p in group.parameters if id(p) not in frozen]
