"""The names that a statement of Python assigns, reads and changes in place."""

from __future__ import annotations

import ast
from typing import Collection, Iterator, List, Set, Union

Function = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Scoped = (*Function, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Definition = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
Import = (ast.Import, ast.ImportFrom)

# calls that change nothing that the training depends on
_IDLE_METHODS = {"zero_grad", "clip_grad", "write", "info", "close", "flush"}
_IDLE_FUNCTIONS = {"print", "manual_seed", "seed", "watch", "makedirs", "set_num_threads"}


def walk_scope(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement, without the insides of functions, classes and comprehensions."""
    yield node
    if not isinstance(node, Scoped):
        for child in ast.iter_child_nodes(node):
            yield from walk_scope(child)


def list_assigned(node: ast.AST) -> Set[str]:
    """The names that are bound after a statement."""
    found: Set[str] = set()
    for one in walk_scope(node):
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            found.add(one.id)
        elif isinstance(one, Definition):
            found.add(one.name)
        elif isinstance(one, ast.alias):
            found.add((one.asname or one.name).split(".")[0])
    return found


def list_parameters(function: Union[ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda]) -> Set[str]:
    """The names of a function's parameters."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return {one.arg for one in every if one is not None}


def list_locals(function: Union[ast.FunctionDef, ast.AsyncFunctionDef]) -> Set[str]:
    """The parameters of a function and the names that it assigns, without its globals."""
    found = list_parameters(function)
    for statement in function.body:
        found |= list_assigned(statement)
    return found - {
        name
        for one in ast.walk(function)
        if isinstance(one, (ast.Global, ast.Nonlocal))
        for name in one.names
    }


def list_read(node: ast.AST) -> Set[str]:
    """The names that a node reads from outside itself, inside functions too."""
    if isinstance(node, Function):
        inner = list_parameters(node) if isinstance(node, ast.Lambda) else list_locals(node)
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        outside = [*ast.iter_child_nodes(node.args), *getattr(node, "decorator_list", [])]
        read = {name for one in body for name in list_read(one)} - inner
        return read | {name for one in outside for name in list_read(one)}
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Load) else set()
    read = {name for child in ast.iter_child_nodes(node) for name in list_read(child)}
    if isinstance(node, Scoped) and not isinstance(node, ast.ClassDef):  # a comprehension
        names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
        read -= {one.id for one in names if isinstance(one.ctx, ast.Store)}
    elif isinstance(node, ast.AugAssign):
        read |= find_base(node.target)
    return read


def find_base(node: ast.AST) -> Set[str]:
    """`a` of `a.b[c].d(e)`; nothing where it does not begin with a name."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def list_changed(node: ast.AST, outer: Set[str], idle: Set[str]) -> Set[str]:
    """The names whose objects a statement may change without binding them.

    `outer` are imports and functions, which are not changed by a call: their arguments are. `idle`
    are the user's functions that only evaluate.
    """
    found: Set[str] = set()
    for one in walk_scope(node):
        if isinstance(one, (ast.Attribute, ast.Subscript)) and isinstance(one.ctx, ast.Store):
            found |= find_base(one)
        elif isinstance(one, ast.For) and not isinstance(node, ast.Module):
            inner = {name for part in one.body for name in list_changed(part, outer, idle)}
            if inner & list_assigned(one.target):  # such as the parameters of a model
                found |= list_read(one.iter)
        elif isinstance(one, ast.Expr) and isinstance(one.value, ast.Call):
            found |= _list_changed_by_call(one.value, outer, idle)
    return found - outer


def _list_changed_by_call(call: ast.Call, outer: Set[str], idle: Set[str]) -> Set[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    base = find_base(call.func)
    if name in _IDLE_METHODS | _IDLE_FUNCTIONS or base & (_IDLE_FUNCTIONS | idle):
        return set()
    if isinstance(call.func, ast.Attribute) and base and not base & outer:
        return base
    arguments = [*call.args, *(one.value for one in call.keywords)]
    return {name for one in arguments for name in find_base(one)}


def list_receivers(node: ast.AST, methods: Collection[str]) -> List[ast.expr]:
    """The objects whose methods of these names are called."""
    return [
        one.func.value
        for one in ast.walk(node)
        if isinstance(one, ast.Call)
        and isinstance(one.func, ast.Attribute)
        and one.func.attr in methods
    ]
