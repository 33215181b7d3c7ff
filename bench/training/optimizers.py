"""Optimizers and schedules of a recipe, and their state as arrays that both modes understand.

An optimizer's tensors are called `parameter/slot`, with the slots of `OPTIMIZER_SLOTS`, so that a
run may go on in the other mode. A parameter is found by its identity: its place in the optimizer's
groups is not its place in the model.
"""

from __future__ import annotations

import inspect
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import oneflow as flow
from oneflow import nn
from oneflow.optim import lr_scheduler

from ...models.registry import OwnCodeError, import_attribute
from ..config import ADAM_LIKE, Workload
from ..errors import InputError, describe_type, raise_as_input
from ..plan.lr_schedule import base_learning_rate, warmup_steps
from .oneflow_compat import (
    FREE_TENSOR,
    GRAPH_STEP,
    OPTIMIZER_SLOTS,
    compiles,
    continue_schedule,
    gather,
    has_nesterov,
    place_everywhere,
    place_like,
    runs_in_graph,
)
from .steps.batches import call_own

State = Dict[str, np.ndarray]

_CLIP_NORM_TYPE = 2.0
_OPTIMIZERS = {  # name: class of oneflow.optim
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "lamb": "LAMB",
}


def create_optimizer(workload: Workload, model: nn.Module) -> flow.optim.Optimizer:
    """The recipe's optimizer over all parameters of `model`, in one group.

    SGD as in PyTorch (weight decay added to the gradient); Adam (Kingma and Ba 2014), RMSprop
    (Tieleman and Hinton 2012), Adagrad (Duchi, Hazan and Singer 2011) and Adadelta (Zeiler 2012)
    likewise; AdamW (Loshchilov and Hutter 2017) and LAMB (You et al. 2019) with decoupled weight
    decay. Or what a function of the user's own gives. Raises InputError for a Nesterov's momentum
    that this OneFlow does not have, and for a function whose optimizer no graph compiles.
    """
    if ":" in workload.optimizer:
        return _create_own(workload, model)
    group: Dict[str, Any] = {"params": list(model.parameters())}
    if workload.clip_norm is not None:
        group["clip_grad_max_norm"] = workload.clip_norm
        group["clip_grad_norm_type"] = _CLIP_NORM_TYPE
    if workload.nesterov and not has_nesterov():
        raise InputError(
            f"--nesterov was given and OneFlow {flow.__version__} has no such SGD; leave it out, "
            "or use OneFlow 0.9.0 or newer"
        )
    kind = getattr(flow.optim, _OPTIMIZERS[workload.optimizer])
    own: Dict[str, Any] = {}
    if workload.optimizer in ADAM_LIKE:
        own["betas"] = (workload.beta1, workload.beta2)
    if workload.optimizer == "sgd":
        own = {"momentum": workload.momentum, **({"nesterov": True} if workload.nesterov else {})}
    return kind([group], lr=base_learning_rate(workload), weight_decay=workload.weight_decay, **own)


def _create_own(workload: Workload, model: nn.Module) -> flow.optim.Optimizer:
    """What the function of --optimizer gives for the parameters and the rate."""
    title, parameters = f"--optimizer {workload.optimizer}", list(model.parameters())
    with raise_as_input(OwnCodeError):
        function = import_attribute(workload.optimizer, "--optimizer")
    try:
        inspect.signature(function).bind(parameters, workload.lr)
    except TypeError as error:
        raise InputError(
            f"{title} cannot be called with the parameters and the rate ({error}); give a function "
            "of both"
        ) from None
    made = call_own(title, "the function", function, parameters, base_learning_rate(workload))
    check_optimizer(made, model, title)
    if any("initial_lr" in group for group in made.param_groups):
        raise InputError(
            f"{title} made a scheduler, which nothing would step; leave it out and give --schedule"
        )
    return made


def create_scheduler(
    workload: Workload, optimizer: flow.optim.Optimizer, steps_per_epoch: int
) -> Optional[Any]:
    """The recipe's schedule, stepped once an update; None for a constant rate without warm-up."""
    scheduler: Any = None
    steps = workload.epochs * steps_per_epoch
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
        scheduler = lr_scheduler.CosineDecayLR(optimizer, decay_steps=steps)
    elif workload.schedule == "linear":
        scheduler = lr_scheduler.PolynomialLR(optimizer, steps, end_learning_rate=0.0, power=1.0)
    elif workload.schedule == "exponential":
        scheduler = lr_scheduler.ExponentialLR(
            optimizer, gamma=workload.lr_gamma ** (1 / steps_per_epoch)
        )
    warmup = warmup_steps(workload, steps_per_epoch)
    if warmup > 1:  # step i of N has (i + 1) / N of the rate: the first one learns too
        scheduler = lr_scheduler.WarmUpLR(
            optimizer if scheduler is None else scheduler,
            warmup_factor=1.0 / warmup,
            warmup_iters=warmup - 1,
            warmup_method="linear",
        )
    return scheduler


def read_rates(
    optimizer: flow.optim.Optimizer, scheduler: Optional[Any], steps: Sequence[int]
) -> List[float]:
    """The first group's rate at each step (from 0), also where a graph moves it by itself."""
    group = optimizer.param_groups[0]
    if scheduler is None:
        return [float(group["lr"])] * len(steps)
    rates = []
    for step in (*steps, scheduler.last_step):  # the last leaves it as it was
        continue_schedule(scheduler, step)
        rates.append(float(group["lr"]))
    return rates[:-1]


def check_optimizer(optimizer: Any, model: nn.Module, source: str = "") -> None:
    """Raise InputError for an optimizer whose state cannot be followed in both modes.

    `source` begins the sentence.
    """
    start = f"{source}: " if source else ""
    if not compiles(optimizer):
        raise InputError(
            f"{start}{describe_type(optimizer)} was given as the optimizer and nn.Graph compiles "
            "only the updates of OneFlow's own classes; give one oneflow.optim optimizer, with "
            "parameter groups in place of several optimizers or of a wrapper"
        )
    own = {id(parameter) for parameter in model.parameters()}
    strange = [p for group in optimizer.param_groups for p in group.parameters if id(p) not in own]
    if strange:
        raise InputError(
            f"{start}the optimizer has a parameter of shape {tuple(strange[0].shape)} that is in "
            "no module of the model it trains; take the parameters from that model, and move those "
            "of a loss into a module of it"
        )


def split_optimizer(made: Any, model: nn.Module) -> Tuple[flow.optim.Optimizer, Optional[Any]]:
    """The optimizer and the scheduler of what `create_optimizer` gave; InputError if unusable."""
    pair = isinstance(made, (tuple, list)) and len(made) == 2
    optimizer, scheduler = made if pair else (made, None)
    if not isinstance(optimizer, flow.optim.Optimizer) or isinstance(
        scheduler, flow.optim.Optimizer
    ):
        raise InputError(
            f"create_optimizer gave {_describe(made)} and one oneflow.optim.Optimizer is expected, "
            "alone or as (optimizer, scheduler); put parameters into groups of one optimizer"
        )
    if scheduler is None and any("initial_lr" in group for group in optimizer.param_groups):
        raise InputError(
            "create_optimizer made a scheduler and gave only the optimizer, so that nothing would "
            "step the scheduler; return (optimizer, scheduler)"
        )
    if scheduler is not None and not runs_in_graph(scheduler):
        raise InputError(
            f"create_optimizer gave {describe_type(scheduler)}, which a graph cannot run; use "
            "StepLR, MultiStepLR, ExponentialLR, CosineAnnealingLR, PolynomialLR, WarmUpLR or a "
            "SequentialLR of such"
        )
    check_optimizer(optimizer, model, "create_optimizer")
    return optimizer, scheduler


def _describe(made: Any) -> str:
    if isinstance(made, (tuple, list)):
        return f"({', '.join(type(one).__name__ for one in made)})"
    return describe_type(made)


def _number_parameters(
    optimizer: flow.optim.Optimizer, model: nn.Module
) -> Iterator[Tuple[int, str, flow.Tensor]]:
    """(number in the optimizer's state, name, parameter) in the model's order."""
    parameters = (p for group in optimizer.param_groups for p in group.parameters)
    numbers = {id(parameter): number for number, parameter in enumerate(parameters)}
    for name, parameter in model.named_parameters():
        if id(parameter) in numbers:
            yield numbers[id(parameter)], name, parameter


def capture_eager_state(optimizer: flow.optim.Optimizer, model: nn.Module) -> State:
    """The optimizer's tensors after eager steps; empty before the first.

    Raises InputError for a tensor that `OPTIMIZER_SLOTS` does not have.
    """
    state = optimizer.state_dict()["state"]
    slots = {key: slot for slot, (key, _) in OPTIMIZER_SLOTS.items()}
    captured: State = {}
    for number, name, _ in _number_parameters(optimizer, model):
        for key, value in state.get(number, {}).items():
            captured[f"{name}/{_find_slot(slots, key)}"] = gather(value)
    return captured


def _find_slot(slots: Dict[str, str], kept: str) -> str:
    if kept not in slots:
        raise InputError(
            f"the optimizer keeps {kept!r} for each parameter and its name in the other mode is "
            f"unknown (known: {', '.join(slots)}); use an optimizer of OneFlow 0.9.0"
        )
    return slots[kept]


def restore_eager_state(
    optimizer: flow.optim.Optimizer, scheduler: Any, model: nn.Module, state: State, step: int
) -> None:
    """Put captured tensors back and continue the schedule at update `step`."""
    stored = optimizer.state_dict()
    stored["state"] = {"step": step}
    for number, name, parameter in _number_parameters(optimizer, model):
        stored["state"][number] = {  # also where it is empty: the next step looks into it
            key: place_like(state[f"{name}/{slot}"], parameter)
            for slot, (key, _) in OPTIMIZER_SLOTS.items()
            if f"{name}/{slot}" in state
        }
    optimizer.load_state_dict(stored)
    if scheduler is not None:
        continue_schedule(scheduler, step)


def capture_graph_state(graph: nn.Graph, prefix: str) -> State:
    """The optimizer's tensors in a train graph whose model's variables begin with `prefix`.

    Raises InputError as `capture_eager_state`.
    """
    slots = {suffix: slot for slot, (_, suffix) in OPTIMIZER_SLOTS.items()}
    captured: State = {}
    # sorted: where tensors are global all ranks must gather the same one at a time
    for variable, value in sorted(graph.state_dict().items()):
        name, dash, suffix = variable.rpartition("-")
        if dash and name.startswith(prefix) and not name.endswith(FREE_TENSOR):
            captured[f"{name[len(prefix) :]}/{_find_slot(slots, dash + suffix)}"] = gather(value)
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
