"""The names that a statement of Python assigns, reads and changes, wherever in it they stand."""

from __future__ import annotations

import ast
import copy
from typing import Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Set, Tuple, Union

Function = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Scoped = (*Function, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Definition = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
Import = (ast.Import, ast.ImportFrom)
Effects = Dict[str, Set[str]]  # a function: the names that it changes, GIVEN for its arguments

GIVEN = "*"
# calls that change nothing that the training depends on
_IDLE_METHODS = {"zero_grad", "clip_grad", "write", "info", "close", "flush"}
_IDLE_FUNCTIONS = {"print", "manual_seed", "seed", "watch", "makedirs", "set_num_threads"}
# methods that change nothing an update depends on, or that are checked by name
_IDLE = {*_IDLE_METHODS, "train", "eval", "step", "set_postfix", "set_postfix_str"}
_IDLE |= {"set_description", "debug", "warning", "state_dict"}
_CHANGING = {"load_state_dict", "apply"}
_CLIPPING = ("clip_grad_norm_", "clip_grad_value_")
_ALIASING = {"parameters", "named_parameters", "children", "modules"}
_ALIASING |= {"list", "tuple", "dict", "zip"}


def walk_scope(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement, without the insides of functions, classes and comprehensions."""
    yield node
    if not isinstance(node, Scoped):
        for child in ast.iter_child_nodes(node):
            yield from walk_scope(child)


def list_calls(node: ast.AST) -> List[ast.Call]:
    """The calls in a node."""
    return [one for one in ast.walk(node) if isinstance(one, ast.Call)]


def last_name(node: ast.AST) -> str:
    """`c` of `a.b.c`; nothing where it does not end with a name."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def find_base(node: ast.AST) -> Set[str]:
    """`a` of `a.b[c].d(e)`; nothing where it does not begin with a name."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Starred, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def list_names(node: ast.AST) -> List[str]:
    """All names in a node."""
    return [one.id for one in ast.walk(node) if isinstance(one, ast.Name)]


def list_stored(node: ast.AST) -> List[str]:
    """The names that a node stores, inside functions and comprehensions too."""
    names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
    return [one.id for one in names if isinstance(one.ctx, ast.Store)]


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


def list_surely_assigned(node: ast.AST) -> Set[str]:
    """The names that a statement assigns whatever its conditions are."""

    def join(body: Iterable[ast.AST]) -> Set[str]:
        return {name for one in body for name in list_surely_assigned(one)}

    if isinstance(node, ast.If):
        return join(node.body) & join(node.orelse)
    if isinstance(node, ast.With):
        return join(one for one in node.items if one.optional_vars) | join(node.body)
    if isinstance(node, (ast.For, ast.While, ast.Try)):
        return set()
    return set(list_stored(node))


def list_parameters(function: Union[ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda]) -> Set[str]:
    """The names of a function's parameters."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return {one.arg for one in every if one is not None}


def match_arguments(parameters: Iterable[ast.arg], call: ast.Call) -> Dict[str, ast.expr]:
    """The arguments of a call by the names of the parameters that they are for."""
    given = dict(zip((one.arg for one in parameters), call.args))
    return {**given, **{one.arg: one.value for one in call.keywords if one.arg is not None}}


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
        read -= set(list_stored(node))
    elif isinstance(node, ast.AugAssign):
        read |= find_base(node.target)
    return read


def _list_given(call: ast.Call) -> Set[str]:
    arguments = [*call.args, *(one.value for one in call.keywords)]
    return {name for one in arguments for name in find_base(one)}


def list_touched(
    node: ast.AST, outer: Set[str], effects: Effects, idle: Optional[Set[str]] = None
) -> Set[str]:
    """The names whose objects a statement changes; `outer` are imports and functions.

    They are those that it surely changes. With `idle`, the functions that only evaluate, they are
    all that it may change: a call whose result is dropped may change what it is given.
    """
    found: Set[str] = set()
    sets_rate = idle is None and "param_groups" in ast.unparse(node)  # is told apart
    for one in ast.walk(node):
        if isinstance(one, (ast.Attribute, ast.Subscript)) and isinstance(one.ctx, ast.Store):
            key = one.slice if isinstance(one, ast.Subscript) else None
            if not (sets_rate and isinstance(key, ast.Constant) and key.value == "lr"):
                found |= find_base(one)
        elif isinstance(one, ast.Call):
            found |= _list_touched_by_call(one, outer, effects)
        elif isinstance(one, ast.Expr) and isinstance(one.value, ast.Call):
            func, base = one.value.func, find_base(one.value.func)
            method = func.attr if isinstance(func, ast.Attribute) else ""
            if method and method not in _IDLE:
                found |= base
            is_idle = method in _IDLE_METHODS | _IDLE_FUNCTIONS
            if idle is not None and not is_idle and not base & (_IDLE_FUNCTIONS | idle):
                found |= base if method and base - outer else _list_given(one.value)
    loops = [one for one in ast.walk(node) if isinstance(one, (ast.For, ast.comprehension))]
    # what a loop goes over is changed with its target
    return spread(found, [({*list_names(o.target)}, list_read(o.iter)) for o in loops]) - outer


def _list_touched_by_call(call: ast.Call, outer: Set[str], effects: Effects) -> Set[str]:
    name, given = last_name(call.func), _list_given(call)
    if isinstance(call.func, ast.Name):
        known = effects.get(name, set())
        return (known - {GIVEN}) | (given if GIVEN in known else set())
    is_in_place = name.endswith("_") and not name.startswith("_") and name not in _CLIPPING
    if is_in_place or name in _CHANGING:
        base = find_base(call.func)
        return given if base & outer or not base else base
    return set()


def find_effects(functions: Collection[ast.FunctionDef], outer: Set[str]) -> Effects:
    """What each function changes outside itself, with what the functions change that it calls."""
    effects: Effects = {}
    for _ in functions:
        before = {name: set(one) for name, one in effects.items()}
        for one in functions:
            touched = {n for each in one.body for n in list_touched(each, outer, effects)}
            given = {GIVEN} if touched & list_parameters(one) else set()
            effects[one.name] = (touched - list_locals(one)) | given
        if effects == before:
            break
    return effects


def spread(names: Set[str], pairs: Collection[Tuple[Set[str], Set[str]]]) -> Set[str]:
    """The names, and all that follow: a name in a pair's first part gives those in its second."""
    found = set(names)
    while True:
        more = set().union(*(given for needed, given in pairs if needed & found))
        if more <= found:
            return found
        found |= more


def list_aliased(node: ast.AST) -> Set[str]:
    """The names that an assignment gives another name for, such as m in `w = m.weight`."""
    value = node.value if isinstance(node, ast.Assign) else None
    names = {last_name(one.func) for one in list_calls(node)}
    return list_read(value) if value is not None and names <= _ALIASING else set()


def list_receivers(node: ast.AST, methods: Collection[str]) -> List[ast.expr]:
    """The objects whose methods of these names are called."""
    called = [one.func for one in list_calls(node)]
    return [one.value for one in called if isinstance(one, ast.Attribute) and one.attr in methods]


def split_counter(loop: ast.For) -> Tuple[Optional[ast.expr], ast.expr, ast.expr]:
    """The counter of a loop over `enumerate(data)`, None of another, and its target and data."""
    target, data = loop.target, loop.iter
    is_counted = isinstance(data, ast.Call) and ast.unparse(data.func) == "enumerate"
    if is_counted and isinstance(target, ast.Tuple) and len(target.elts) == 2:
        return target.elts[0], target.elts[1], data.args[0]  # type: ignore[attr-defined]
    return None, target, data


class Replacer(ast.NodeTransformer):
    """Puts expressions in the place of names that are read; a name also where it is bound."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self._values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        value = self._values.get(node.id)
        if isinstance(value, ast.Name):
            return ast.copy_location(ast.Name(value.id, node.ctx), node)
        if value is None or not isinstance(node.ctx, ast.Load):
            return node
        return copy.deepcopy(value)
