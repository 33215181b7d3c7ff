"""Faults of the loss, the optimizer, its schedule and the data."""

from __future__ import annotations

from typing import Any, Callable

import oneflow as flow

from faults.planting import Fault, wrap_forward
from oneflow_bench.bench.training.losses import smoothed_cross_entropy


def sum_loss(fault: Fault, job: Any) -> None:
    def change(original: Any, self: Any, outputs: Any, labels: Any, *rest: Any) -> Any:
        return original(self, outputs, labels, *rest) * float(labels.shape[0])

    wrap_forward(job.objective.criterion, change)


def change_smoothing(fault: Fault, job: Any) -> None:
    job.objective.criterion._compute = lambda s, y, t: smoothed_cross_entropy(s, y, fault.size)


def set_option(fault: Fault, job: Any) -> None:
    """`where` is a key of the optimizer's groups and `size` its value there."""
    for group in job.optimizer.param_groups:
        value = group[fault.where]
        group[fault.where] = bool(fault.size) if isinstance(value, bool) else fault.size


def spare_biases(fault: Fault, job: Any) -> None:
    """No weight decay on biases."""
    named = list(job.model.named_parameters())
    biases = [p for name, p in named if name.endswith(".bias")]
    others = [p for name, p in named if not name.endswith(".bias")]
    options = job.optimizer.param_groups[0]
    _replace_optimizer(
        job,
        flow.optim.SGD(
            [{"params": others}, {"params": biases, "weight_decay": 0.0}],
            lr=options["lr"],
            momentum=options["momentum"],
            weight_decay=options["weight_decay"],
        ),
    )


def _replace_optimizer(job: Any, optimizer: Any) -> None:
    job.optimizer = optimizer
    if job.scheduler is not None:
        job.scheduler = type(job.scheduler)(
            optimizer, step_size=job.scheduler.step_size, gamma=job.scheduler.gamma
        )


def delay_schedule(fault: Fault, job: Any) -> None:
    job.scheduler.step_size += int(fault.size)


def decay_in_gradient(fault: Fault, job: Any) -> None:
    """Weight decay added to the gradient before it is clipped, instead of after."""
    parameters = list(job.model.parameters())
    for group in job.optimizer.param_groups:
        group["weight_decay"] = 0.0

    def change(original: Any, self: Any, images: Any, labels: Any) -> Any:
        loss = original(self, images, labels)
        for p in parameters:
            square = 0.5 * fault.size * (p * p).sum()
            loss = loss + (square - square.detach())  # no value, but a gradient
        return loss

    wrap_forward(job.objective, change)


def change_beta2(fault: Fault, job: Any) -> None:
    for group in job.optimizer.param_groups:
        group["betas"] = (group["betas"][0], fault.size)


class AfterStep:
    """A feed that does something whenever a batch after the first is asked for."""

    def __init__(self, feed: Any, action: Callable[[], None]) -> None:
        self._feed = feed
        self._action = action
        self._taken = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    def next_batch(self) -> Any:
        if self._taken:
            self._action()
        self._taken += 1
        return self._feed.next_batch()


class ChangedFeed:
    """A feed whose batches are changed: `change(number, batch before, batch)`."""

    def __init__(self, feed: Any, change: Callable[[int, Any, Any], Any]) -> None:
        self._feed = feed
        self._change = change
        self._number = 0
        self._before: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    def next_batch(self) -> Any:
        self._number += 1
        batch = self._feed.next_batch()
        changed = self._change(self._number, self._before, batch)
        self._before = batch
        return changed


def repeat_batch(fault: Fault, job: Any) -> None:
    def change(number: int, before: Any, batch: Any) -> Any:
        return before if number == int(fault.size) else batch

    job.train_feed = ChangedFeed(job.train_feed, change)


def swap_input_channels(fault: Fault, job: Any) -> None:
    def change(number: int, before: Any, batch: Any) -> Any:
        images, labels = batch
        return flow.cat([images[:, 2:], images[:, 1:2], images[:, :1]], dim=1), labels

    job.train_feed = ChangedFeed(job.train_feed, change)


def shift_labels(fault: Fault, job: Any) -> None:
    def change(number: int, before: Any, batch: Any) -> Any:
        return batch[0], (batch[1] + 1) % 10

    job.train_feed = ChangedFeed(job.train_feed, change)


def train_teacher(fault: Fault, job: Any) -> None:
    """The teacher in train mode: its batch norm takes the batch's statistics."""
    job.teacher.train()


def plant_in_session(fault: Fault, job: Any) -> None:
    """Nothing in the job: `faulty_worker.py` plants these in its turns."""
