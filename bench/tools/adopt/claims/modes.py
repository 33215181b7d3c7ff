"""The mode that a module is trained in, which a `TrainingStep` and a graph set to train."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Dict, Iterator, List, Set

from ....errors import InputError
from ..lines import Line
from ..names import find_base, list_assigned, list_locals
from ..script import WRITE
from ..training import Training

Functions = Dict[str, ast.FunctionDef]


@dataclass(frozen=True)
class _Mode:
    line: Line
    node: ast.AST
    is_train: bool
    is_whole: bool  # of the module, not of a part


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
            raise _fail(
                training, one.node,
                f"`{ast.unparse(one.node)}` gives the module or a part of it a mode of its own; "
                "override train() in its class instead",
            )  # fmt: skip
    if late:
        raise _fail(
            training, late[-1].line.node,
            f"the module is in eval mode here and a TrainingStep trains in train mode; call "
            f"{training.module}.train() before the loop over batches",
        )  # fmt: skip
    for depth in range(1, len(training.straight.loops) + 1):
        left = [one for one in after if one.line.depth == depth]
        is_back = any(one.is_train and one.line.depth >= depth for one in before)
        if left and not left[-1].is_train and not is_back:
            raise _fail(
                training, left[-1].line.node,
                f"the next batches are trained in eval mode; call {training.module}.train() at "
                "the beginning of the loop",
            )  # fmt: skip


def _fail(training: Training, node: ast.AST, text: str) -> InputError:
    path = training.straight.script.path
    return InputError(f"{path}, line {getattr(node, 'lineno', 0)}: {text}, or {WRITE}")


def _list_modes(training: Training, line: Line) -> List[_Mode]:
    """The modes that a line puts the module or a part of it into, in their order."""
    if isinstance(line.node, (ast.FunctionDef, ast.ClassDef)) or _ends(line.node):
        return []
    module = training.module
    # what else a step reads has a mode too
    others = training.read_in_loss() | training.loader if line.depth else set()
    functions = {
        one.node.name: one.node
        for one in training.slicer.lines
        if isinstance(one.node, ast.FunctionDef)
    }
    found = list(_walk(line, line.node, {module}, others, functions))
    value = line.node.value if isinstance(line.node, ast.Assign) else None
    if isinstance(value, ast.Call) and module in list_assigned(line.node):
        name = ast.unparse(value.func).split(".")[-1]
        if name in ("train", "eval"):  # as in `model = Net().eval()`
            found.append(_Mode(line, value, _is_train(value), True))
        elif name in functions:  # as in `model = build()`
            found += _open(line, value, {module}, others, functions, makes_it=True)
    return found


def _ends(node: ast.AST) -> bool:
    """Whether a statement ends the script or its function, such as behind `--evaluate`."""
    last = node.body[-1] if isinstance(node, ast.If) else None
    is_exit = isinstance(last, ast.Expr) and "exit" in ast.unparse(last).split("(")[0]
    return is_exit or isinstance(last, (ast.Return, ast.Raise))


def _walk(
    line: Line, node: ast.AST, whole: Set[str], parts: Set[str], functions: Functions
) -> Iterator[_Mode]:
    """The modes that a node sets of names of the module, `whole`, and of names of its parts."""
    parts = parts | {
        name
        for one in ast.walk(node)
        if isinstance(one, (ast.For, ast.comprehension)) and find_base(one.iter) & whole
        for name in _list_names(one.target)
    }
    for one in _walk_in_order(node):
        if _stores_mode(one, whole | parts):
            yield _Mode(line, one, False, False)
        if not isinstance(one, ast.Call):
            continue
        func = one.func
        if isinstance(func, ast.Name) and func.id in functions:
            yield from _open(line, one, whole, parts, functions)
        elif isinstance(func, ast.Attribute) and find_base(func) & (whole | parts):
            if func.attr in ("train", "eval"):
                is_whole = isinstance(func.value, ast.Name) and func.value.id in whole
                yield _Mode(line, one, _is_train(one), is_whole)
            elif func.attr == "apply" and any(_sets_mode(each, functions) for each in one.args):
                yield _Mode(line, one, False, False)


def _open(
    line: Line,
    call: ast.Call,
    whole: Set[str],
    parts: Set[str],
    functions: Functions,
    makes_it: bool = False,
) -> Iterator[_Mode]:
    """The modes that a called function sets, with the names that it has for module and parts.

    One that `makes_it` returns the module.
    """
    function = functions[ast.unparse(call.func)]
    given = dict(zip([one.arg for one in function.args.args], call.args))
    given.update({one.arg: one.value for one in call.keywords if one.arg is not None})
    inner = list_locals(function)
    named = {name for name, one in given.items() if isinstance(one, ast.Name) and one.id in whole}
    taken = {name for name, one in given.items() if find_base(one) & (whole | parts)} - named
    if makes_it:
        made = [one.value for one in ast.walk(function) if isinstance(one, ast.Return)]
        named |= {one.id for one in made if isinstance(one, ast.Name)}
    others = {name: one for name, one in functions.items() if one is not function}
    for statement in function.body:
        yield from _walk(line, statement, named | (whole - inner), taken | (parts - inner), others)


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
    return is_mode and bool(set(_list_names(node)) & ours)


def _sets_mode(node: ast.expr, functions: Functions) -> bool:
    """Whether a function, given by its name, sets the mode of something."""
    function = functions.get(node.id) if isinstance(node, ast.Name) else node
    found = [one for one in ast.walk(function or node) if isinstance(one, ast.Attribute)]
    stores = {one.attr for one in found if isinstance(one.ctx, ast.Store)}
    return bool({one.attr for one in found} & {"train", "eval"}) or "training" in stores


def _list_names(node: ast.AST) -> List[str]:
    return [one.id for one in ast.walk(node) if isinstance(one, ast.Name)]
