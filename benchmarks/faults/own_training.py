"""Kinds of faults in loss, optimizer, schedule and lasting state; see `own.py`."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import oneflow as flow
from oneflow import nn
from oneflow.nn import functional
from oneflow.optim import lr_scheduler

from faults import own
from faults.own import AFTER, LATER, LOSS, UPDATE, add

ANYTHING = dict(names=".")


def same(m: Any, x: Any) -> Any:
    return x * 1.0


def conv() -> Dict[str, Any]:
    return {"conv": nn.Conv2d(8, 8, 3, padding=1)}


def norm() -> Dict[str, Any]:
    return {"norm": nn.BatchNorm2d(8)}


# the graph's loss: (value, outputs, labels) -> value
own._LOSSES.update({
    "loss with another weight": lambda value, s, y: value * 1.001,
    "loss summed instead of averaged": lambda value, s, y: value * float(y.shape[0]),
    "loss with label smoothing":
        lambda value, s, y: 0.9 * value - 0.1 * functional.log_softmax(s, dim=1).mean(),
    "loss with a temperature": lambda value, s, y: functional.cross_entropy(s / 1.1, y),
    "loss with a penalty": lambda value, s, y: value + 1e-3 * (s * s).mean(),
    "loss of the first half of the batch": lambda value, s, y: functional.cross_entropy(
        s[: s.shape[0] // 2], y[: y.shape[0] // 2]),
    "loss with shifted labels": lambda value, s, y: functional.cross_entropy(s, (y + 1) % 10),
})  # fmt: skip
for _name in own._LOSSES:
    add(_name, same, levels=LOSS, names="loss", flags={"loss": "faults.own:loss"})


# the graph's optimizer
def change_groups(change: Callable[[Dict[str, Any]], Dict[str, Any]]) -> Callable[[], None]:
    """`plant` that gives the graph other options of each group; the eager optimizer keeps its."""

    def plant() -> None:
        for cls in (flow.optim.SGD, flow.optim.Adam, flow.optim.AdamW):
            _wrap_configuration(cls, change)

    return plant


def _wrap_configuration(cls: Any, change: Callable[[Dict[str, Any]], Dict[str, Any]]) -> None:
    original = cls._generate_conf_for_graph

    def generate(self: Any, train_conf: Any, variables: Any) -> Any:
        before = [dict(group.options) for group in self.param_groups]
        for group in self.param_groups:
            group.options.update(change(group.options))
        try:
            return original(self, train_conf, variables)
        finally:
            for group, options in zip(self.param_groups, before):
                group._options = options

    cls._generate_conf_for_graph = generate


def change_rate(factor: float) -> Callable[[Dict[str, Any]], Dict[str, Any]]:
    return lambda options: {
        name: options[name] * factor for name in ("lr", "initial_lr") if name in options
    }


def lose_clipping() -> None:
    for cls in (flow.optim.SGD, flow.optim.Adam, flow.optim.AdamW):
        cls._generate_grad_clip_conf_for_optim_conf = lambda self, group, conf: None


def change_variables(change: Callable[[Any, Any], None]) -> Callable[[], None]:
    """`plant` that calls `change(parameter, its configuration)` of the graph's optimizer."""

    def plant() -> None:
        original = flow.optim.SGD._generate_conf_for_graph

        def generate(self: Any, train_conf: Any, variables: Any) -> Any:
            made = original(self, train_conf, variables)
            for group in self.param_groups:
                for parameter in group.parameters:
                    change(parameter, variables[parameter])
            return made

        flow.optim.SGD._generate_conf_for_graph = generate

    return plant


def _spare_bias(parameter: Any, conf: Any) -> None:
    if len(parameter.shape) == 1:
        conf.l2 = 0.0


def keep_out(wanted: Callable[[str], bool]) -> Callable[[], None]:
    """`plant` of a graph that updates only the parameters whose names are wanted."""

    def plant() -> None:
        original = flow.optim.SGD._generate_conf_for_graph

        def generate(self: Any, train_conf: Any, variables: Any) -> Any:
            made = original(self, train_conf, variables)
            for conf in made:
                kept = [name for name in conf.variable_op_names if wanted(name)]
                conf.ClearField("variable_op_names")
                conf.variable_op_names.extend(kept)
            return made

        flow.optim.SGD._generate_conf_for_graph = generate

    return plant


def change_schedule(cls: Any, name: str, change: Callable[[Any], Any]) -> Callable[[], None]:
    """`plant` that gives the graph a schedule with another argument."""

    def plant() -> None:
        original = cls._generate_conf_for_graph

        def generate(self: Any, conf: Any) -> Any:
            before = getattr(self, name)
            setattr(self, name, change(before))
            try:
                return original(self, conf)
            finally:
                setattr(self, name, before)

        cls._generate_conf_for_graph = generate

    return plant


OPTIONS: List[Any] = [
    ("weight decay lost", lambda o: {"weight_decay": 0.0}, UPDATE, {}),
    ("weight decay tenfold", lambda o: {"weight_decay": 10 * o["weight_decay"]}, UPDATE, {}),
    ("learning rate off by 1 %", change_rate(1.01), UPDATE, {}),
    ("momentum lost", lambda o: {"momentum": 0.0}, f"{UPDATE}|{LATER}", {}),
    ("momentum off by 1 %", lambda o: {"momentum": 0.99 * o["momentum"]}, LATER, {}),
    ("Nesterov instead of plain momentum", lambda o: {"nesterov": True}, f"{UPDATE}|{LATER}", {}),
    ("dampening", lambda o: {"dampening": 0.1}, f"{UPDATE}|{LATER}", {}),
    ("ascent instead of descent", lambda o: {"maximize": True}, UPDATE, {}),
    ("clipping norm halved", lambda o: {"clip_grad_max_norm": 0.05}, UPDATE, {"clip_norm": 0.1}),
    ("Adam with another beta2", lambda o: {"betas": (o["betas"][0], 0.99)}, f"{UPDATE}|{LATER}",
     {"optimizer": "adam", "lr": 0.001}),
    ("Adam with another eps", lambda o: {"eps": 1e-3}, UPDATE, {"optimizer": "adam", "lr": 0.001}),
    ("AdamW without its decay", lambda o: {"weight_decay": 0.0}, UPDATE,
     {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.5}),
]  # fmt: skip
for _kind, _change, _levels, _flags in OPTIONS:
    add(_kind, same, levels=_levels, **ANYTHING, flags=_flags, plant=change_groups(_change))

DECAYED = {"weight_decay": 0.01}
add("clipping not applied", same, levels=UPDATE, **ANYTHING, flags={"clip_norm": 0.1},
    plant=lose_clipping)  # fmt: skip
add("no weight decay on biases", same, levels=UPDATE, names="bias", flags=DECAYED,
    plant=change_variables(_spare_bias))  # fmt: skip
add("only the head is trained", same, levels=UPDATE, **ANYTHING,
    plant=keep_out(lambda name: "head" in name))  # fmt: skip
add("head not updated", same, levels=UPDATE, names=r"^head",
    plant=keep_out(lambda name: "head" not in name))  # fmt: skip
add("bias not updated", lambda m, x: m.conv(x), levels=UPDATE, names="bias", children=conv,
    plant=keep_out(lambda name: not name.endswith("block.conv.bias")))  # fmt: skip
SCHEDULED = dict(levels=LATER, **ANYTHING)
add("schedule one step late", same, **SCHEDULED,
    plant=change_schedule(lr_scheduler.StepLR, "step_size", lambda size: size + 1))  # fmt: skip
add("schedule with another gamma", same, **SCHEDULED,
    plant=change_schedule(lr_scheduler.StepLR, "gamma", lambda gamma: gamma * 0.9))  # fmt: skip


# after a call of the train graph
def after_call(change: Callable[[nn.Module, int], None]) -> Callable[[], None]:
    """`plant` that calls `change(block, calls so far)` after each call of a train graph."""

    def plant() -> None:
        original = nn.Graph.__call__

        def call(self: Any, *inputs: Any, **named: Any) -> Any:
            given = original(self, *inputs, **named)
            block = find_block(self)
            if self._is_train_graph if hasattr(self, "_is_train_graph") else bool(self._opts):
                calls = self.__dict__.get("planted_calls", 0) + 1
                object.__setattr__(self, "planted_calls", calls)
                if block is not None:
                    flow._oneflow_internal.eager.Sync()
                    change(block, calls)
            return given

        nn.Graph.__call__ = call

    return plant


def find_block(graph: nn.Graph) -> Any:
    """The block of the model inside a graph; None if there is none."""
    for proxy in graph._blocks.values():
        for module in proxy.to(nn.Module).modules():
            if isinstance(module, own.Block):
                return module
    return None


def _set(tensor: Any, change: Callable[[Any], Any]) -> None:
    """Writes into the tensor's own memory, which the graph reads too."""
    array = tensor.numpy()
    array[...] = change(array.copy())


def _restore_row(block: Any, calls: int) -> None:
    _set(block.embedding.weight, lambda w: _with_row(w, block))


def _with_row(weight: Any, block: Any) -> Any:
    weight[3] = block.first_row
    return weight


def _keep_row(net: Any) -> None:
    row = net.block.embedding.weight.numpy()[3].copy()
    object.__setattr__(net.block, "first_row", row)


add("embedding row not updated", lambda m, i: m.embedding(i), levels=f"{UPDATE}|{LATER}",
    names="embedding|loss", tokens=True, children=lambda: {"embedding": nn.Embedding(11, 8)},
    plant=after_call(_restore_row))  # fmt: skip
own._PREPARE["embedding row not updated"] = _keep_row
add("weight changed after step 2", lambda m, x: m.conv(x), levels=LATER, **ANYTHING,
    children=conv,
    plant=after_call(lambda block, calls: calls == 2 and _set(
        block.conv.weight, lambda w: w * 1.01)))  # fmt: skip
add("weight clipped after each step", lambda m, x: m.conv(x), levels=f"{UPDATE}|{LATER}",
    names="block|loss", children=conv,
    plant=after_call(lambda block, calls: _set(
        block.conv.weight, lambda w: w.clip(-0.05, 0.05))))  # fmt: skip
add("running variance biased", lambda m, x: m.norm(x), levels=f"{UPDATE}|{LATER}",
    names="running_var", children=norm,
    plant=after_call(lambda block, calls: _set(
        block.norm.running_var, lambda v: v * 0.999)))  # fmt: skip
add("running mean not kept", lambda m, x: m.norm(x), levels=f"{UPDATE}|{LATER}",
    names="running_mean", children=norm,
    plant=after_call(lambda block, calls: _set(
        block.norm.running_mean, lambda v: v * 0.0)))  # fmt: skip

_trained = {"calls": 0}


def _note_training(block: Any, calls: int) -> None:
    _trained["calls"] += 1


add("fault only after training", same, lambda m, x: x * (
    1.05 if _trained["calls"] and not m.training else 1.0), levels=AFTER, **ANYTHING,
    plant=after_call(_note_training))  # fmt: skip


def _scale_parts() -> None:
    """A batch that is split in parts: the graph's losses are added instead of averaged."""
    original = nn.graph.graph_config.GraphConfig.set_gradient_accumulation_steps

    def set_steps(self: Any, value: Any = None) -> Any:
        _parts["count"] = 1 if value is None else value
        return original(self, value)

    nn.graph.graph_config.GraphConfig.set_gradient_accumulation_steps = set_steps


_parts = {"count": 1}
_ACCUMULATION = "accumulation not averaged"
own._LOSSES[_ACCUMULATION] = lambda value, s, y: value * float(_parts["count"])
add(_ACCUMULATION, same, levels="resumed|loss curve|trained|step", **ANYTHING,
    flags={"loss": "faults.own:loss", "accumulation_steps": 2}, plant=_scale_parts,
    doors=("check", "compare"))  # fmt: skip
