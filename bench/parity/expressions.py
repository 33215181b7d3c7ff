"""Python expressions that build again what a job is made of, for a standalone script.

They need OneFlow alone, or the file of the user's own code that they import from.
"""

from __future__ import annotations

import importlib
import inspect
import math
from pathlib import Path
from typing import Any, Dict, Optional

import oneflow as flow

from ..config import LOSS_ARGUMENTS, STEP_DATA, Workload
from ..training import losses
from ..training.job import Job
from ..training.oneflow_compat import clips_gradients

_PACKAGE = __name__.partition(".")[0]
_LOSS_NAMES = {"label_smoothing": "smoothed_cross_entropy", "teacher_free": "teacher_free",
               "binary_cross_entropy": "binary_cross_entropy"}  # fmt: skip
# an expression builds OneFlow's own leaves, whose attributes have the names of their arguments
_MODULES = frozenset(
    f"oneflow.nn.modules.{name}"
    for name in ("activation", "batchnorm", "conv", "dropout", "flatten", "linear",
                 "normalization", "pooling")
)  # fmt: skip
_TENSORS = frozenset(("weight", "bias", "running_mean", "running_var", "num_batches_tracked"))
_NAMED = ("kernel_size", "p")  # arguments that are always written, with their names
# arguments that change no result here, or that another argument has replaced
_SKIPPED = ("self", "args", "kwargs", "device", "dtype", "generator", "init",
            "min_value", "max_value")  # fmt: skip


def find_constructor(module: Any) -> Optional[str]:
    """A Python expression over `nn` that builds a layer equal to `module` up to its tensors.

    Arguments that have the default of the class are left out. Parameters and buffers are not part
    of it; the random state of a Dropout is OneFlow's default. None if no such expression exists: a
    class that is not a leaf of OneFlow's own, a module with children, hooks or a `forward` put on
    the instance, with parameters or buffers beyond its class's, a seeded Dropout, or a layout of
    channels last. Reads attributes and not the printed form, which leaves some of them out
    (ceil_mode of a pool).
    """
    cls = type(module)
    if cls.__module__ not in _MODULES or _is_altered(module):
        return None
    arguments = []
    try:
        for name, parameter in inspect.signature(cls.__init__).parameters.items():
            if name in _SKIPPED:
                continue
            value = module.bias is not None if name == "bias" else getattr(module, name)
            if parameter.default is parameter.empty and name not in _NAMED:
                arguments.append(_write_literal(value))
            elif name in _NAMED or not _equals(value, parameter.default):
                arguments.append(f"{name}={_write_literal(value)}")
    except (AttributeError, ValueError):
        return None
    return f"nn.{cls.__name__}({', '.join(arguments)})"


def _equals(value: Any, default: Any) -> bool:
    """True for the default; a module keeps `(1, 1)` if its constructor says 1."""
    if isinstance(value, (tuple, list)) and not isinstance(default, (tuple, list)):
        return all(item == default for item in value)
    return bool(value == default)


def _is_altered(module: Any) -> bool:
    """True if the instance has something beyond its class and arguments."""
    tensors = set(module._parameters) | set(module._buffers)
    # a fresh layer's random numbers begin with the same seed
    own_seed = hasattr(module, "generator") and (
        module.generator.initial_seed() != type(module)().generator.initial_seed()
    )
    return (
        "forward" in vars(module)
        or next(module.children(), None) is not None
        or bool(module._forward_hooks)
        or bool(module._forward_pre_hooks)
        or not tensors <= _TENSORS
        or getattr(module, "channel_pos", "channels_first") != "channels_first"
        or getattr(module, "channel_axis", 1) != 1
        or own_seed
    )


def _write_literal(value: Any) -> str:
    """Raises ValueError for a value without a literal."""
    if isinstance(value, (tuple, list)):
        items = [_write_literal(item) for item in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if value is None or isinstance(value, (bool, int, str)):
        return repr(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    raise ValueError(f"{value!r} has no literal")


def describe_model(workload: Workload) -> Dict[str, Any]:
    """`model`, an expression that makes the workload's model, with its `seed` and `folders`.

    `folders` are those that the script has to import from.
    """
    if workload.data == STEP_DATA:
        step = _write_import(workload.model)
        called = ", ".join(f"{key}={value!r}" for key, value in workload.model_args.items())
        return {
            "model": f"{step}({called}).create_module()" if called else f"{step}.create_module()",
            "seed": workload.seed,
            "folders": [_find_root(workload.model)],
        }
    arguments: Dict[str, Any] = dict(workload.model_args)
    if workload.dropout is not None:
        arguments["dropout"] = workload.dropout
    name, arguments = workload.model, {"num_classes": workload.num_classes, **arguments}
    if ":" not in name:
        name, arguments = f"{_PACKAGE}.models:create_model", {"name": name, **arguments}
    texts = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    model = f"{_write_import(name)}({texts})"
    return {"model": model, "seed": workload.seed, "folders": [_find_root(name)]}


def describe_training(job: Job, workload: Workload) -> Dict[str, Any]:
    """What `describe_model` gives and the expressions of a train step: loss, optimizer, schedule.

    `loss` is over `outputs` and `labels`, `optimizer` over `named` parameters, `schedule` over
    `optimizer`. Raises ValueError for a part without an expression.
    """
    if job.teacher is not None:
        raise ValueError("a teacher")
    if workload.data == STEP_DATA:
        raise ValueError("a loss of the user's own TrainingStep")
    described = describe_model(workload)
    own = ":" in workload.loss
    arguments = {} if own else {n: getattr(workload, n) for n in LOSS_ARGUMENTS[workload.loss]}
    function = "nn.functional.cross_entropy"
    if workload.loss != "cross_entropy":
        name = workload.loss if own else f"{losses.__name__}:{_LOSS_NAMES[workload.loss]}"
        described["folders"].append(_find_root(name))
        function = _write_import(name)
    texts = "".join(f", {key}={value!r}" for key, value in arguments.items())
    loss = f"{function}(outputs, labels{texts})"
    weights = getattr(job.model, "aux_weights", ())
    if weights:
        heads = f"zip({(1.0, *weights)!r}, outputs)"
        loss = f"sum(weight * {loss.replace('(outputs', '(head')} for weight, head in {heads})"
    return {
        **described,
        "loss": loss,
        "optimizer": write_optimizer(job.optimizer, job.model),
        "schedule": "None" if job.scheduler is None else write_schedule(job.scheduler),
        "clips": clips_gradients(job.optimizer),
    }


def write_optimizer(optimizer: flow.optim.Optimizer, model: Any) -> str:
    """An expression over `flow` and the model's parameters by name, `named`.

    Raises ValueError for a class that is not OneFlow's own, or an option without a literal.
    """
    kind = type(optimizer).__name__
    if getattr(flow.optim, kind, None) is not type(optimizer):
        raise ValueError(f"the optimizer {kind}, which is not one of OneFlow's own")
    taken = {*inspect.signature(type(optimizer).__init__).parameters,
             "clip_grad_max_norm", "clip_grad_norm_type"}  # fmt: skip
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        options = {key: value for key, value in group.options.items() if key in taken}
        options["lr"] = group.options.get("initial_lr", group["lr"])
        texts = [f"{key!r}: {_write_literal(value)}" for key, value in options.items()]
        members = [names[id(parameter)] for parameter in group.parameters]
        groups.append(f"{{'params': [named[name] for name in {members!r}], {', '.join(texts)}}}")
    first = optimizer.param_groups[0].options
    rate = first.get("initial_lr", first["lr"])
    return f"flow.optim.{kind}([{', '.join(groups)}], lr={rate!r})"


def write_schedule(scheduler: Any) -> str:
    """An expression over `flow` and `optimizer`. Raises ValueError for one that wraps another."""
    kind = type(scheduler).__name__
    skipped = ("self", "optimizer", "last_step", "verbose")
    names = [n for n in inspect.signature(type(scheduler).__init__).parameters if n not in skipped]
    if not all(hasattr(scheduler, name) for name in names):
        raise ValueError(f"the schedule {kind}, which wraps another")
    texts = [f"{name}={_write_literal(getattr(scheduler, name))}" for name in names]
    return f"flow.optim.lr_scheduler.{kind}(optimizer, {', '.join(texts)})"


def _write_import(name: str) -> str:
    module, _, attribute = name.partition(":")
    return f"importlib.import_module({module!r}).{attribute}"


def _find_root(name: str) -> str:
    """The folder from which the module of `module:attribute` is imported."""
    module = name.partition(":")[0]
    path = Path(str(importlib.import_module(module).__file__)).resolve()
    return str(path.parents[module.count(".") + (path.name == "__init__.py")])
