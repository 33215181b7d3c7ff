"""Each statement of the loops is carried over, named as left out, or refused with its line."""

from __future__ import annotations

import ast
from typing import Dict, Iterator, List, Optional, Set

from ..adjustments import list_rates
from ..names import (
    Definition,
    Import,
    Scoped,
    last_name,
    list_aliased,
    list_assigned,
    list_calls,
    list_read,
    list_receivers,
    list_surely_assigned,
    split_counter,
)
from ..script import Line, Note
from ..training import Training
from .updates import check_updates

_NUMBERS = {"float", "int", "round", "len", "item", "random", "uniform", "beta", "choice"}
_DRAWS = ("rand", "permutation", "shuffle", "beta", "normal", "uniform", "choice", "sample")


def check_loops(training: Training) -> List[Note]:
    """Notes of what is left out; InputError for what can be neither carried over nor left out."""
    loops = training.straight.loops
    if len(loops) > 2:
        lines = ", ".join(str(one.lineno) for one in loops)
        raise training.fail(
            loops[0],
            f"the loops in lines {lines} are around the backward pass and two are expected, over "
            "epochs and over batches; take the others out",
        )
    check_updates(training)
    inside = [
        one
        for one in training.straight.lines
        if one.depth and not isinstance(one.node, (*Definition, *Import))
    ]
    notes = _check_exits(training, inside)
    _refuse_numbers(training)
    carried = _check_carried(training, inside)
    left_out = []
    for line in inside:
        changed = (list_assigned(line.node) | _list_touched(training, line)) & training.trained
        if changed:
            text = f"changes {min(map(str, changed))} in the training; take it out"
            raise training.fail(line.node, f"`{_show(line)}` {text}")
        if training.evaluation is not None and line is training.evaluation.source:
            continue
        if line not in carried and not isinstance(line.node, ast.Return):
            left_out.append(line)
    return notes + _note_left_out(training, left_out)


def _show(line: Line) -> str:
    return ast.unparse(line.node).splitlines()[0]


def _check_exits(training: Training, inside: List[Line]) -> List[Note]:
    """Notes for a loop over epochs that ends early; InputError for batches that are passed over."""
    notes = []
    for line in inside:
        for one in _walk_loop(line.node):
            word = type(one).__name__.lower()
            if line.depth == len(training.straight.loops) or not line.is_after:
                text = f"this {word} passes over batches; choose the batches in the loader"
                raise training.fail(one, text)
            notes.append((one.lineno, f"this {word} is left out; the graph script goes on"))
    return notes


def _walk_loop(node: ast.AST, is_outside: bool = True) -> Iterator[ast.stmt]:
    """The statements inside a statement that leave the loop around it."""
    if isinstance(node, (ast.Break, ast.Continue)) or (
        isinstance(node, ast.Return) and not is_outside
    ):
        yield node
    if isinstance(node, (ast.For, ast.While, *Scoped)):
        return
    for child in ast.iter_child_nodes(node):
        yield from _walk_loop(child, False)


def _refuse_numbers(training: Training) -> None:
    """Raise InputError for a number in the batch, which a graph would keep as it is at first."""
    counter, target, data = split_counter(training.loop)
    if isinstance(data, ast.Call) and ast.unparse(data.func) == "range":
        counter = target
    counted = set() if counter is None else list_assigned(counter)
    numbers = dict.fromkeys(counted, training.loop.lineno)
    for line in training.data:
        if isinstance(line.node, ast.Assign) and _is_number(line.node.value, set(numbers)):
            numbers.update(dict.fromkeys(list_assigned(line.node), line.node.lineno))
    for name in training.batch:
        if name in numbers:
            raise training.fail(
                numbers[name],
                f"the loss reads the number {name}, and a graph keeps its first value; make it a "
                f"tensor, such as {name} = flow.tensor({name})",
            )


def _is_number(node: ast.expr, numbers: Set[str]) -> bool:
    """Whether an expression surely gives a number of Python."""
    if isinstance(node, ast.BinOp):
        return _is_number(node.left, numbers) and _is_number(node.right, numbers)
    if isinstance(node, ast.IfExp):
        return _is_number(node.body, numbers) and _is_number(node.orelse, numbers)
    if isinstance(node, ast.UnaryOp):
        return _is_number(node.operand, numbers)
    if isinstance(node, ast.Call):
        name = last_name(node.func)
        has_size = any(one.arg in ("size", "shape") for one in node.keywords) or len(node.args) > 2
        return (name in _NUMBERS and not has_size) or (
            ast.unparse(node.func).endswith("random.rand") and not node.args
        )
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id in numbers)


def _check_carried(training: Training, inside: List[Line]) -> List[Line]:
    """The lines of the loops that are carried over.

    Raises InputError if one depends on the number of the epoch, or on what a pass leaves behind.
    """
    depth, loop, trained = len(training.straight.loops), training.loop, training.trained
    body = [one for one in inside if one in training.data or one in training.steps]
    nodes = [*(one.node for one in body), training.straight.loss]
    wanted = _find_free(nodes, list_assigned(loop.target))
    level = [one for one in inside if one.depth == depth]
    _refuse_changed(training, set(wanted) - trained, level, "step to step")
    wanted.update(dict.fromkeys(list_read(loop.iter), loop.lineno))
    epoch: List[Line] = []
    while True:
        names = set(wanted) | {n for one in epoch for n in list_read(one.node)}
        more = [
            one
            for one in inside
            if one.depth < depth
            and not one.is_after
            and (list_assigned(one.node) | training.slicer.list_touched(one.node))
            & (names - trained)
        ]
        if len(more) == len(epoch):
            break
        epoch = more
    bound = ast.Assign([loop.target], loop.iter, lineno=loop.lineno)
    free = _find_free([*(one.node for one in epoch), bound, *nodes], set())
    for outer in training.straight.loops[:-1]:
        late = training.slicer.list_late(set(free))
        for name in sorted(list_assigned(outer.target) & late):
            raise training.fail(
                free.get(name, training.straight.lineno),
                f"this depends on {name} of the loop in line {outer.lineno}, and a TrainingStep "
                "is the same in each epoch; take it out",
            )
    others = [one for one in inside if one not in body]
    if depth > 1:
        _refuse_changed(training, set(free) - trained, others, "epoch to epoch")
    _refuse_drawn(training, epoch)
    return [*epoch, *body]


def _find_free(nodes: List[ast.AST], bound: Set[str]) -> Dict[str, int]:
    """The names that statements read before they assign them, with the line of the first."""
    free: Dict[str, int] = {}
    bound = set(bound)
    for node in nodes:
        for name in list_read(node) - bound:
            free.setdefault(name, getattr(node, "lineno", 0))
        bound |= list_surely_assigned(node)
    return free


def _refuse_changed(training: Training, free: Set[str], lines: List[Line], way: str) -> None:
    """Raise InputError if a line binds one of these names anew, or changes what they are of."""
    trained = training.trained
    bound = training.slicer.list_late(free) - trained
    sources = training.slicer.list_sources(bound, trained) - trained
    for line in lines:
        changed = (list_assigned(line.node) & bound) | (_list_touched(training, line) & sources)
        if changed:
            text = f"{min(changed)} is carried from {way}; begin it anew in each"
            raise training.fail(line.node, text)


def _list_touched(training: Training, line: Line) -> Set[str]:
    """The names whose objects a line changes, also by another name for a part of them."""
    found = training.slicer.list_touched(line.node)
    for one in reversed(training.straight.lines):
        if list_assigned(one.node) & found:
            found |= list_aliased(one.node)
    return found


def _refuse_drawn(training: Training, epoch: List[Line]) -> None:
    """Raise InputError for random numbers of an epoch that the loss reads beside the batch."""
    read = training.read_in_loss()
    for line in epoch:
        text = ast.unparse(line.node)
        if list_assigned(line.node) & read and any(word in text for word in _DRAWS):
            text = f"`{_show(line)}` draws anew in each epoch; draw it in the loop over batches"
            raise training.fail(line.node, text)


def _note_left_out(training: Training, lines: List[Line]) -> List[Note]:
    """A note for what gets the module and is not known, and one for all other lines."""
    trained, known = training.trained, training.slicer.functions
    notes, plain = [], []
    for line in lines:
        if _is_update(line, trained) or _has_no_original(line):
            continue
        if list_rates(training.straight, [line]):  # which have a note of their own
            continue
        given = [
            ast.unparse(one.func)
            for one in list_calls(line.node)
            if ast.unparse(one.func) not in known
            for argument in one.args
            if isinstance(argument, ast.Name) and argument.id in trained
        ]
        if given and isinstance(line.node, ast.Expr):
            text = f"{given[0]}() is left out, although it gets a part of the training: read it"
            notes.append((line.node.lineno, text))
        else:
            plain.append(line.node.lineno)
    return [*notes, *note_lines(plain)]


def note_lines(numbers: List[int]) -> List[Note]:
    """One note for lines that assign nothing which an update reads."""
    if not numbers:
        return []
    if len(numbers) == 1:
        return [(numbers[0], "this is left out, because the written update reads nothing of it")]
    numbers = sorted(set(numbers))
    shown = ", ".join(map(str, numbers))
    text = f"lines {shown} are left out, because the written update reads nothing of them"
    return [(numbers[0], text)]


def _has_no_original(line: Line) -> bool:
    node = line.node
    is_mark = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    return is_mark and node.value.value is ...  # type: ignore[attr-defined]


def _is_update(line: Line, trained: Set[Optional[str]]) -> bool:
    """Whether a line is a step, a clearing of gradients, a mode or a clipping.

    A step under a condition has a note of its own.
    """
    if any(isinstance(one, ast.Name) and one.id in trained
           for one in list_receivers(line.node, {"step"})):  # fmt: skip
        return True
    call = line.node.value if isinstance(line.node, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return False
    names = ("step", "zero_grad", "train", "eval")
    is_ours = isinstance(call.func.value, ast.Name) and call.func.value.id in trained
    return (is_ours and call.func.attr in names) or call.func.attr.startswith("clip_grad_")
