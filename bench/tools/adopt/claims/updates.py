"""The update rule: one step of the optimizer for each batch, from gradients that begin at zero."""

from __future__ import annotations

import ast
from typing import List, Set

from ....errors import InputError
from ..lines import Line
from ..names import list_receivers
from ..script import WRITE
from ..training import Training
from .modes import check_modes


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


def _fail(training: Training, node: ast.AST, text: str) -> InputError:
    path = training.straight.script.path
    return InputError(f"{path}, line {getattr(node, 'lineno', 0)}: {text}, or {WRITE}")


def _refuse_switched_gradients(training: Training) -> None:
    """Raise InputError for a step whose gradients are switched, which no copied line would do."""
    for line in training.straight.lines:
        is_in_step = line.depth == len(training.straight.loops) and not line.is_after
        if is_in_step and "set_grad_enabled(" in ast.unparse(line.node):
            raise _fail(
                training, line.node,
                "set_grad_enabled switches gradients in the step; write `with flow.no_grad():` "
                "around the lines without them",
            )  # fmt: skip


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
            raise _fail(
                training, line.node,
                f"{name}.step() is called once for several batches and a TrainingStep updates "
                "with each; call it in the loop over batches",
            )  # fmt: skip
        if not line.is_after:
            raise _fail(
                training, line.node, f"{name}.step() is before the backward pass; swap them"
            )
        is_condition = isinstance(line.node, ast.If) and not line.node.orelse
        if not is_condition and not (_is_plain(line) and not line.node.value.args):  # type: ignore
            raise _fail(training, line.node, f"write {name}.step() alone, without arguments")
    if len(steps) > 1:
        raise _fail(training, steps[1].node, f"{name}.step() is called twice; call it once a batch")
    return steps[0]


def _check_zeros(training: Training, step: Line) -> None:
    names = {str(training.optimizer), training.module}
    depth, lines = len(training.straight.loops), training.straight.lines
    zeros = [one for one in _list_calls(training, "zero_grad", names) if one.depth == depth]
    text = f"call {training.optimizer}.zero_grad() at each batch, before loss.backward()"
    if not zeros:
        raise _fail(training, step.node, f"the gradients of batches add up; {text}")
    for zero in zeros:
        if zero is step:  # gradients are accumulated, which is noted
            continue
        if not _is_plain(zero) or not _is_plain(step):
            raise _fail(training, zero.node, f"zero_grad() and step() are not called alike; {text}")
        if zero.is_after and lines.index(zero) < lines.index(step):
            raise _fail(training, zero.node, f"the gradients are cleared before the update; {text}")


def _check_scheduler(training: Training, name: str, step: Line) -> None:
    calls = _list_calls(training, "step", {name})
    made = [
        ast.unparse(line.node)
        for line, assigned in zip(training.slicer.lines, training.slicer.assigned)
        if name in assigned
    ]
    if any("Plateau" in one for one in made):
        return  # left out with a note
    for line in calls:
        if line is step:
            continue
        if not _is_plain(line) or line.node.value.args or line.node.value.keywords:  # type: ignore
            raise _fail(
                training, line.node,
                f"{name}.step() is called under a condition or with arguments, and a graph steps "
                "a schedule at every update; step it in each pass, without arguments",
            )  # fmt: skip
        if not line.is_after:
            raise _fail(training, line.node, f"call {name}.step() behind the optimizer's step")
    if len(calls) > 1:
        raise _fail(training, calls[1].node, f"{name}.step() is called twice; call it once")
