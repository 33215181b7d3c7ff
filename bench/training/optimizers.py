"""Optimizers and schedules of a recipe, and their state as arrays that both modes understand.

An optimizer's tensors are called `parameter/slot`, the slots `momentum` (SGD), `exp_avg` and
`exp_avg_sq` (Adam, AdamW), so that a run may go on in the other mode.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

import numpy as np
import oneflow as flow
from oneflow import nn
from oneflow.optim import lr_scheduler

from ..config import Workload, base_learning_rate, warmup_steps
from ..errors import InputError
from .oneflow_compat import (
    GRAPH_STEP,
    OPTIMIZER_SLOTS,
    continue_schedule,
    gather,
    has_nesterov,
    place_everywhere,
    place_like,
)

State = Dict[str, np.ndarray]

_CLIP_NORM_TYPE = 2.0


def create_optimizer(workload: Workload, model: nn.Module) -> flow.optim.Optimizer:
    """The recipe's optimizer over all parameters of `model`, in one group.

    SGD as in PyTorch (weight decay added to the gradient); Adam (Kingma and Ba 2014) likewise;
    AdamW with decoupled weight decay (Loshchilov and Hutter 2017).
    """
    group: Dict[str, Any] = {"params": list(model.parameters())}
    if workload.clip_norm is not None:
        group["clip_grad_max_norm"] = workload.clip_norm
        group["clip_grad_norm_type"] = _CLIP_NORM_TYPE
    if workload.nesterov and not has_nesterov():
        raise InputError(
            f"--nesterov was given and OneFlow {flow.__version__} has no such SGD; leave it out, "
            "or use OneFlow 0.9.0 or newer"
        )
    own: Dict[str, Any] = {"betas": (workload.beta1, workload.beta2)}
    if workload.optimizer == "sgd":
        own = {"momentum": workload.momentum, **({"nesterov": True} if workload.nesterov else {})}
    kind = {"sgd": flow.optim.SGD, "adam": flow.optim.Adam, "adamw": flow.optim.AdamW}
    return kind[workload.optimizer](
        [group], lr=base_learning_rate(workload), weight_decay=workload.weight_decay, **own
    )


def create_scheduler(
    workload: Workload, optimizer: flow.optim.Optimizer, steps_per_epoch: int
) -> Optional[Any]:
    """The recipe's schedule, stepped once an update; None for a constant rate without warm-up."""
    scheduler: Any = None
    if workload.schedule == "step":
        scheduler = lr_scheduler.StepLR(
            optimizer, step_size=workload.lr_step * steps_per_epoch, gamma=workload.lr_gamma
        )
    elif workload.schedule == "multistep":
        milestones = [epoch * steps_per_epoch for epoch in workload.lr_milestones]
        scheduler = lr_scheduler.MultiStepLR(
            optimizer, milestones=milestones, gamma=workload.lr_gamma
        )
    elif workload.schedule == "cosine":
        scheduler = lr_scheduler.CosineDecayLR(
            optimizer, decay_steps=workload.epochs * steps_per_epoch
        )
    warmup = warmup_steps(workload, steps_per_epoch)
    if warmup:
        scheduler = lr_scheduler.WarmUpLR(
            optimizer if scheduler is None else scheduler,
            warmup_factor=0.0,
            warmup_iters=warmup,
            warmup_method="linear",
        )
    return scheduler


def capture_eager_state(optimizer: flow.optim.Optimizer, model: nn.Module) -> State:
    """The optimizer's tensors after eager steps; empty before the first."""
    state = optimizer.state_dict()["state"]
    captured: State = {}
    for number, (name, _) in enumerate(model.named_parameters()):
        for slot, (key, _) in OPTIMIZER_SLOTS.items():
            if key in state.get(number, {}):
                captured[f"{name}/{slot}"] = gather(state[number][key])
    return captured


def restore_eager_state(
    optimizer: flow.optim.Optimizer, scheduler: Any, model: nn.Module, state: State, step: int
) -> None:
    """Put captured tensors back and continue the schedule at update `step`."""
    stored = optimizer.state_dict()
    stored["state"] = {"step": step}
    for number, (name, parameter) in enumerate(model.named_parameters()):
        slots = {
            key: place_like(state[f"{name}/{slot}"], parameter)
            for slot, (key, _) in OPTIMIZER_SLOTS.items()
            if f"{name}/{slot}" in state
        }
        if slots:
            stored["state"][number] = slots
    optimizer.load_state_dict(stored)
    if scheduler is not None:
        continue_schedule(scheduler, step)


def capture_graph_state(graph: nn.Graph, prefix: str) -> State:
    """The optimizer's tensors in a train graph whose model's variables begin with `prefix`."""
    captured: State = {}
    # sorted: where tensors are global all ranks must gather the same one at a time
    for variable, value in sorted(graph.state_dict().items()):
        for slot, (_, suffix) in OPTIMIZER_SLOTS.items():
            if variable.startswith(prefix) and variable.endswith(suffix):
                name = variable[len(prefix) : -len(suffix)]
                captured[f"{name}/{slot}"] = gather(value)
    return captured


def restore_graph_state(
    graph: nn.Graph, prefix: str, model: nn.Module, state: State, step: int
) -> None:
    """Give a train graph its optimizer's tensors; only before it is compiled."""
    variables = graph.state_dict()
    parameters = dict(model.named_parameters())
    for name, value in state.items():
        parameter, _, slot = name.rpartition("/")
        variable = f"{prefix}{parameter}{OPTIMIZER_SLOTS[slot][1]}"
        variables[variable] = place_like(value, parameters[parameter])
    count = np.array([step], dtype=np.int64)
    variables[GRAPH_STEP] = place_everywhere(count, next(iter(parameters.values())))
    graph.load_state_dict(variables)
