"""The update rule: a module in train mode, gradients from zero, and one step for each batch."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Dict, Iterator, List, Set, Tuple

from ..names import (
    find_base,
    last_name,
    list_assigned,
    list_locals,
    list_names,
    list_receivers,
    match_arguments,
)
from ..script import Line
from ..training import Training

Functions = Dict[str, ast.FunctionDef]
Switch = Tuple[ast.AST, bool, bool]  # what sets a mode, as in `_Mode`


@dataclass(frozen=True)
class _Mode:
    line: Line
    node: ast.AST
    is_train: bool
    is_whole: bool  # of the module, not of a part


def check_updates(training: Training) -> None:
    """Raise InputError for another rule, a conditional schedule, and training in eval mode."""
    check_modes(training)
    _refuse_switched_gradients(training)
    if training.optimizer is None:
        return
    steps = _list_calls(training, "step", {training.optimizer})
    step = _check_step(training, steps)
    _check_zeros(training, step)
    if training.scheduler is not None:
        _check_scheduler(training, training.scheduler, step)


def _refuse_switched_gradients(training: Training) -> None:
    """Raise InputError for a step whose gradients are switched, which no copied line would do."""
    for line in training.straight.lines:
        is_in_step = line.depth == len(training.straight.loops) and not line.is_after
        if is_in_step and "set_grad_enabled(" in ast.unparse(line.node):
            raise training.fail(
                line.node,
                "set_grad_enabled switches gradients in the step; write `with flow.no_grad():` "
                "around the lines without them",
            )


def _list_calls(training: Training, method: str, names: Set[str]) -> List[Line]:
    """The lines in the loops that call a method of one of these objects, once for each call."""
    return [
        line
        for line in training.straight.lines
        if line.depth
        for one in list_receivers(line.node, {method})
        if isinstance(one, ast.Name) and one.id in names
    ]


def _is_plain(line: Line) -> bool:
    """Whether a line is the call and nothing else."""
    return isinstance(line.node, ast.Expr) and isinstance(line.node.value, ast.Call)


def _check_step(training: Training, steps: List[Line]) -> Line:
    name, depth = training.optimizer, len(training.straight.loops)
    for line in steps:
        if line.depth < depth:
            raise training.fail(
                line.node,
                f"{name}.step() is called once for several batches and a TrainingStep updates "
                "with each; call it in the loop over batches",
            )
        if not line.is_after:
            raise training.fail(line.node, f"{name}.step() is before the backward pass; swap them")
        is_condition = isinstance(line.node, ast.If) and not line.node.orelse
        if not is_condition and not (_is_plain(line) and not line.node.value.args):  # type: ignore
            raise training.fail(line.node, f"write {name}.step() alone, without arguments")
    if len(steps) > 1:
        raise training.fail(steps[1].node, f"{name}.step() is called twice; call it once a batch")
    return steps[0]


def _check_zeros(training: Training, step: Line) -> None:
    names = {str(training.optimizer), training.module}
    depth, lines = len(training.straight.loops), training.straight.lines
    zeros = [one for one in _list_calls(training, "zero_grad", names) if one.depth == depth]
    text = f"call {training.optimizer}.zero_grad() at each batch, before loss.backward()"
    if not zeros:
        raise training.fail(step.node, f"the gradients of batches add up; {text}")
    for zero in zeros:
        if zero is step:  # gradients are accumulated, which is noted
            continue
        if not _is_plain(zero) or not _is_plain(step):
            raise training.fail(zero.node, f"zero_grad() and step() are not called alike; {text}")
        if zero.is_after and lines.index(zero) < lines.index(step):
            raise training.fail(zero.node, f"the gradients are cleared before the update; {text}")


def _check_scheduler(training: Training, name: str, step: Line) -> None:
    calls = _list_calls(training, "step", {name})
    made = [line.node for line in training.slicer.lines if name in line.assigned]
    if any("Plateau" in ast.unparse(one) for one in made):
        return  # left out with a note
    for line in calls:
        if line is step:
            continue
        if not _is_plain(line) or line.node.value.args or line.node.value.keywords:  # type: ignore
            raise training.fail(
                line.node,
                f"{name}.step() is called under a condition or with arguments, and a graph steps "
                "a schedule at every update; step it in each pass, without arguments",
            )
        if not line.is_after:
            raise training.fail(line.node, f"call {name}.step() behind the optimizer's step")
    if len(calls) > 1:
        raise training.fail(calls[1].node, f"{name}.step() is called twice; call it once")


def check_modes(training: Training) -> None:
    """Raise InputError if a batch is trained in eval mode, or a part has a mode of its own."""
    before: List[_Mode] = []
    after: List[_Mode] = []
    for line in training.straight.lines:
        (after if line.is_after else before).extend(_list_modes(training, line))
    back = [number for number, one in enumerate(before) if one.is_whole and one.is_train]
    late = before[back[-1] + 1 :] if back else before  # the last train() undoes what is earlier
    for one in [*late, *(one for one in (*before, *after) if one.line.depth)]:
        if not one.is_whole:
            raise training.fail(
                one.node,
                f"`{ast.unparse(one.node)}` gives the module or a part of it a mode of its own; "
                "override train() in its class instead",
            )
    if late:
        raise training.fail(
            late[-1].line.node,
            f"the module is in eval mode here and a TrainingStep trains in train mode; call "
            f"{training.module}.train() before the loop over batches",
        )
    for depth in range(1, len(training.straight.loops) + 1):
        left = [one for one in after if one.line.depth == depth]
        is_back = any(one.is_train and one.line.depth >= depth for one in before)
        if left and not left[-1].is_train and not is_back:
            raise training.fail(
                left[-1].line.node,
                f"the next batches are trained in eval mode; call {training.module}.train() at "
                "the beginning of the loop",
            )


def _list_modes(training: Training, line: Line) -> List[_Mode]:
    """The modes that a line puts the module or a part of it into, in their order."""
    if isinstance(line.node, (ast.FunctionDef, ast.ClassDef)) or _ends(line.node):
        return []
    module = training.module
    # what else a step reads has a mode too
    others = training.read_in_loss() | training.loader if line.depth else set()
    functions = training.slicer.functions
    found = list(_walk(line.node, {module}, others, functions))
    value = line.node.value if isinstance(line.node, ast.Assign) else None
    if isinstance(value, ast.Call) and module in list_assigned(line.node):
        name = last_name(value.func)
        if name in ("train", "eval"):  # as in `model = Net().eval()`
            found.append((value, _is_train(value), True))
        elif name in functions:  # as in `model = build()`
            found += _open(value, {module}, others, functions, makes_it=True)
    return [_Mode(line, *one) for one in found]


def _ends(node: ast.AST) -> bool:
    """Whether a statement ends the script or its function, such as behind `--evaluate`."""
    last = node.body[-1] if isinstance(node, ast.If) else None
    is_exit = isinstance(last, ast.Expr) and "exit" in ast.unparse(last).split("(")[0]
    return is_exit or isinstance(last, (ast.Return, ast.Raise))


def _walk(
    node: ast.AST, whole: Set[str], parts: Set[str], functions: Functions
) -> Iterator[Switch]:
    """The modes that a node sets of names of the module, `whole`, and of names of its parts."""
    parts = parts | {
        name
        for one in ast.walk(node)
        if isinstance(one, (ast.For, ast.comprehension)) and find_base(one.iter) & whole
        for name in list_names(one.target)
    }
    for one in _walk_in_order(node):
        if _stores_mode(one, whole | parts):
            yield one, False, False
        if not isinstance(one, ast.Call):
            continue
        func = one.func
        if isinstance(func, ast.Name) and func.id in functions:
            yield from _open(one, whole, parts, functions)
        elif isinstance(func, ast.Attribute) and find_base(func) & (whole | parts):
            if func.attr in ("train", "eval"):
                is_whole = isinstance(func.value, ast.Name) and func.value.id in whole
                yield one, _is_train(one), is_whole
            elif func.attr == "apply" and any(_sets_mode(each, functions) for each in one.args):
                yield one, False, False


def _open(
    call: ast.Call, whole: Set[str], parts: Set[str], functions: Functions, makes_it: bool = False
) -> Iterator[Switch]:
    """The modes that a called function sets, with the names that it has for module and parts.

    One that `makes_it` returns the module.
    """
    function = functions[ast.unparse(call.func)]
    given = match_arguments(function.args.args, call)
    inner = list_locals(function)
    named = {name for name, one in given.items() if isinstance(one, ast.Name) and one.id in whole}
    taken = {name for name, one in given.items() if find_base(one) & (whole | parts)} - named
    if makes_it:
        made = [one.value for one in ast.walk(function) if isinstance(one, ast.Return)]
        named |= {one.id for one in made if isinstance(one, ast.Name)}
    others = {name: one for name, one in functions.items() if one is not function}
    for statement in function.body:
        yield from _walk(statement, named | (whole - inner), taken | (parts - inner), others)


def _is_train(call: ast.Call) -> bool:
    return "train(" in ast.unparse(call).split(".")[-1] and "False" not in ast.unparse(call)


def _walk_in_order(node: ast.AST) -> Iterator[ast.AST]:
    """A node and those inside it, what runs first before what runs later."""
    for child in ast.iter_child_nodes(node):
        yield from _walk_in_order(child)
    yield node


def _stores_mode(node: ast.AST, ours: Set[str]) -> bool:
    """Whether a node sets the attribute `training`, of which `train()` and `eval()` consist."""
    if isinstance(node, ast.Attribute):
        return (
            node.attr == "training"
            and isinstance(node.ctx, ast.Store)
            and bool(find_base(node) & ours)
        )
    words: List[ast.expr] = []
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
        words = [node.slice]
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
        words = node.args[1:2]
    is_mode = any(isinstance(one, ast.Constant) and one.value == "training" for one in words)
    return is_mode and bool(set(list_names(node)) & ours)


def _sets_mode(node: ast.expr, functions: Functions) -> bool:
    """Whether a function, given by its name, sets the mode of something."""
    function = functions.get(node.id) if isinstance(node, ast.Name) else node
    found = [one for one in ast.walk(function or node) if isinstance(one, ast.Attribute)]
    stores = {one.attr for one in found if isinstance(one.ctx, ast.Store)}
    return bool({one.attr for one in found} & {"train", "eval"}) or "training" in stores
