"""The names whose objects a statement changes, wherever in it the change stands."""

from __future__ import annotations

import ast
from typing import Dict, Iterable, List, Set

from .names import find_base, list_locals, list_parameters, list_read

Effects = Dict[str, Set[str]]  # a function: the names that it changes, GIVEN for its arguments
GIVEN = "*"
_CHANGING = {"load_state_dict", "apply"}
_CLIPPING = ("clip_grad_norm_", "clip_grad_value_")
_ALIASING = {
    "parameters",
    "named_parameters",
    "children",
    "modules",
    "list",
    "tuple",
    "dict",
    "zip",
}
# methods that change nothing an update depends on, or that are checked by name
_IDLE = {"train", "eval", "step", "zero_grad", "clip_grad", "write", "info", "close", "flush"}
_IDLE |= {"set_postfix", "set_postfix_str", "set_description", "debug", "warning", "state_dict"}


def list_touched(node: ast.AST, outer: Set[str], effects: Effects) -> Set[str]:
    """The names whose objects a statement changes; `outer` are imports and functions."""
    found: Set[str] = set()
    sets_rate = "param_groups" in ast.unparse(node)  # is told apart
    for one in ast.walk(node):
        if isinstance(one, (ast.Attribute, ast.Subscript)) and isinstance(one.ctx, ast.Store):
            key = one.slice if isinstance(one, ast.Subscript) else None
            if not (sets_rate and isinstance(key, ast.Constant) and key.value == "lr"):
                found |= find_base(one)
        elif isinstance(one, ast.Call):
            found |= _list_touched_by_call(one, outer, effects)
        elif isinstance(one, ast.Expr) and isinstance(one.value, ast.Call):
            func = one.value.func
            if isinstance(func, ast.Attribute) and func.attr not in _IDLE:
                found |= find_base(func)
    while True:  # what a loop goes over is changed with its target
        more = {
            name
            for one in ast.walk(node)
            if isinstance(one, (ast.For, ast.comprehension))
            and found & {n.id for n in ast.walk(one.target) if isinstance(n, ast.Name)}
            for name in list_read(one.iter)
        }
        if more <= found:
            return found - outer
        found |= more


def _list_touched_by_call(call: ast.Call, outer: Set[str], effects: Effects) -> Set[str]:
    name = ast.unparse(call.func).split(".")[-1]
    given = {n for one in call.args for n in find_base(one)}
    given |= {n for one in call.keywords for n in find_base(one.value)}
    if isinstance(call.func, ast.Name):
        known = effects.get(name, set())
        return (known - {GIVEN}) | (given if GIVEN in known else set())
    is_in_place = name.endswith("_") and not name.startswith("_") and name not in _CLIPPING
    if is_in_place or name in _CHANGING:
        base = find_base(call.func)
        return given if base & outer or not base else base
    return set()


def find_effects(functions: Iterable[ast.FunctionDef], outer: Set[str]) -> Effects:
    """What each function changes outside itself, with what the functions change that it calls."""
    functions = list(functions)
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


def list_aliased(node: ast.AST) -> Set[str]:
    """The names that an assignment gives another name for, such as m in `w = m.weight`."""
    value = node.value if isinstance(node, ast.Assign) else None
    calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
    names = {ast.unparse(one.func).split(".")[-1] for one in calls}
    return list_read(value) if value is not None and names <= _ALIASING else set()


def list_surely_assigned(node: ast.AST) -> Set[str]:
    """The names that a statement assigns whatever its conditions are."""
    if isinstance(node, ast.If):
        return _join(node.body) & _join(node.orelse)
    if isinstance(node, ast.With):
        targets = {n for one in node.items if one.optional_vars for n in _list_stored(one)}
        return targets | _join(node.body)
    if isinstance(node, (ast.For, ast.While, ast.Try)):
        return set()
    return _list_stored(node)


def _join(body: List[ast.stmt]) -> Set[str]:
    return {name for one in body for name in list_surely_assigned(one)}


def _list_stored(node: ast.AST) -> Set[str]:
    names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
    return {one.id for one in names if isinstance(one.ctx, ast.Store)}
