"""The evaluation loop of a script, if it has the usual form: sums over batches, divided afterwards.

    for images, labels in val_loader:
        right += (model(images).argmax(1) == labels).sum().item()
        total += labels.size(0)
    accuracy = right / total

becomes the metric `(model(images).argmax(1) == labels).sum() / labels.size(0)` of a batch.
"""

from __future__ import annotations

import ast
import builtins
import copy
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from ..names import (
    Definition,
    Import,
    Replacer,
    find_base,
    list_assigned,
    list_names,
    list_parameters,
    list_read,
    match_arguments,
    split_counter,
    walk_scope,
)
from ..script import Line, Note
from ..training import Evaluation, Training
from .metrics import Stripper, find_sum, is_idle, list_needed, list_ratios, make_metric, split_body


class _Loop(NamedTuple):
    source: Line  # that has it, or calls the function that has it
    node: ast.For
    rest: List[ast.stmt]  # the statements after it


class _Unusual(Exception):
    """Why a loop is of another form."""


def find_evaluation(training: Training) -> Tuple[Optional[Evaluation], List[Note]]:
    """The first evaluation loop of the usual form, and a note for each other one."""
    chosen, notes = None, []
    for loop in _list_loops(training):
        if chosen is not None:
            reason = f"that of line {chosen.lineno} is taken"
        else:
            try:
                chosen = _read_loop(training, loop)
                continue
            except _Unusual as error:
                reason = str(error)
        text = f"the metrics of this evaluation are left out, because {reason}"
        notes.append((loop.node.lineno, f"{text}; write evaluate(module, batch) for them"))
    return chosen, list(dict.fromkeys(notes))


def _list_loops(training: Training) -> Iterator[_Loop]:
    """The loops over batches, beside the training's, that use the module, in their order."""
    functions = training.slicer.functions
    dependent = training.slicer.follow(training.module)
    lines = [one for one in training.straight.lines if one.depth or one.is_after]
    flat = [(line, one) for line in lines for one in _flatten([line.node], (ast.With, ast.If))]
    for number, (line, statement) in enumerate(flat):
        taken = _take_loop(statement)
        if taken is not None:
            found = [_Loop(line, taken, [one for _, one in flat[number + 1 :]])]
        else:
            calls = [one for one in walk_scope(statement) if isinstance(one, ast.Call)]
            found = [
                loop
                for call in calls
                if isinstance(call.func, ast.Name) and call.func.id in functions
                for loop in _open(functions[call.func.id], call, line)
            ]
        for loop in found:
            body = {name for one in loop.node.body for name in list_read(one)}
            is_count = ast.unparse(loop.node.iter).startswith("range(")
            if (
                body & dependent
                and not is_count
                and training.module not in find_base(loop.node.iter)
            ):
                yield loop


def _flatten(statements: Sequence[ast.stmt], kinds: Tuple[type, ...]) -> List[ast.stmt]:
    """Statements, with those inside of others of these kinds in the place of these."""
    found: List[ast.stmt] = []
    for one in statements:
        inner = isinstance(one, kinds)
        found += _flatten(one.body, kinds) if inner else [one]  # type: ignore[attr-defined]
    return found


def _open(function: ast.FunctionDef, call: ast.Call, source: Line) -> Iterator[_Loop]:
    """The loops of a function, with the values of a call in the place of its parameters."""
    given = match_arguments(function.args.args, call)
    if len(given) < len(list_parameters(function)) - len(function.args.defaults):
        return
    fill = Replacer(given)
    body = [fill.visit(copy.deepcopy(one)) for one in function.body]
    flat = _flatten(body, (ast.With, ast.If))
    for number, statement in enumerate(flat):
        taken = _take_loop(statement)
        if taken is not None:
            yield _Loop(source, taken, flat[number + 1 :])


def _take_loop(statement: ast.stmt) -> Optional[ast.For]:
    """A loop, also for `values = [f(x) for x in data]`, which appends to a list."""
    if isinstance(statement, ast.For):
        return statement
    value = statement.value if isinstance(statement, ast.Assign) else None
    if not isinstance(value, ast.ListComp) or len(value.generators) > 1 or value.generators[0].ifs:
        return None
    (one,), (name, *_) = value.generators, statement.targets  # type: ignore[attr-defined]
    append = ast.Attribute(name, "append", ast.Load())
    body: List[ast.stmt] = [ast.Expr(ast.Call(append, [value.elt], []))]
    return ast.copy_location(ast.For(one.target, one.iter, body, []), statement)


def _read_loop(training: Training, loop: _Loop) -> Evaluation:
    node = copy.deepcopy(loop.node)
    _, target, data = split_counter(node)
    if not isinstance(data, ast.Name) or data.id not in training.slicer.names():
        raise _Unusual("its data have no name from before the loops")
    if data.id in training.loader:
        raise _Unusual("it goes over the training data")
    body = _flatten(node.body, (ast.With,))
    theirs, body = list_parts(target, body)
    ours, _ = list_parts(split_counter(training.loop)[1], [one.node for one in training.data])
    if len(theirs) != len(ours):
        raise _Unusual(
            f"its batches have {len(theirs)} parts and those of the training {len(ours)}"
        )
    local = {name for one in body for name in list_assigned(one)} - set(theirs)
    if local & set(ours):
        raise _Unusual(f"it has another {min(local & set(ours))} than the training")
    rename = Replacer({old: ast.Name(new, ast.Load()) for old, new in zip(theirs, ours)})
    body = [Stripper().visit(rename.visit(one)) for one in body]
    body = [one for one in body if not is_idle(one)]
    sums, lines = split_body(body)
    found = list_ratios(sums, loop.rest, data.id)
    if not found:
        raise _Unusual("no sum over its batches is divided afterwards")
    metrics: Dict[str, ast.expr] = {}
    for name, divisor in found.items():
        rows = ast.parse(f"{training.batch[-1]}.shape[0]", mode="eval").body
        metrics.setdefault(*make_metric(name, sums[name], divisor or rows))
    needed = list_needed(lines, metrics)
    _refuse_changes(training, body, needed, metrics)
    _check_names(training, needed, metrics, ours, set(sums))
    return Evaluation(data.id, needed, metrics, loop.source, loop.node.lineno)


def list_parts(target: ast.expr, body: Sequence[ast.stmt]) -> Tuple[List[str], List[ast.stmt]]:
    """The names of a batch's parts, and the lines behind those that take it apart."""
    lines = list(body)
    while isinstance(target, ast.Name) and lines and isinstance(lines[0], ast.Assign):
        value, (bound, *more) = lines[0].value, lines[0].targets
        if more or not isinstance(bound, ast.Tuple) or ast.unparse(value) != target.id:
            break
        target, lines = bound, lines[1:]
    return list_names(target), lines


def _refuse_changes(
    training: Training,
    body: Sequence[ast.stmt],
    needed: Sequence[ast.stmt],
    metrics: Dict[str, ast.expr],
) -> None:
    """Raise _Unusual if a line that is left out, or one behind a sum, changes what it reads."""
    wanted = {name for one in (*needed, *metrics.values()) for name in list_read(one)}
    summed: Set[str] = set()
    for one in body:
        changed = list_assigned(one) | training.slicer.list_touched(one)
        is_carried = any(one is each for each in needed)
        wrong = changed & (summed if is_carried else wanted | summed)
        if wrong:
            raise _Unusual(f"line {one.lineno} changes {min(wrong)} in a way of its own")
        found = find_sum(one)
        summed |= list_read(found[1]) if found is not None else set()


def _check_names(
    training: Training,
    lines: Sequence[ast.stmt],
    metrics: Dict[str, ast.expr],
    parts: Sequence[str],
    sums: Set[str],
) -> None:
    nodes = [*lines, *metrics.values()]
    made = {name for one in lines for name in list_assigned(one)}
    read = {name for one in nodes for name in list_read(one)} - made
    dependent = training.slicer.follow(training.module) - {training.module}
    for line in training.slicer.lines:
        if line.assigned & dependent & read and not isinstance(line.node, Definition):
            raise _Unusual(f"it reads {min(line.assigned & read)}, which is made of the module")
    for name in sorted(read):
        if name in parts:
            if name not in training.batch:
                raise _Unusual(f"it reads {name} of the batch, which the loss does not")
        elif name in sums or name not in {*training.slicer.names(), *dir(builtins)}:
            raise _Unusual(f"it reads {name}, which is not known before the loops")
    for line in training.slicer.lines:
        is_numpy = isinstance(line.node, Import) and "numpy" in ast.unparse(line.node)
        if is_numpy and line.assigned & read:
            raise _Unusual("it computes with NumPy, which no graph can run")
