"""The calls that lead to a script's backward pass, and the names of the bodies that they run."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Callable, Dict, Iterator, Optional, Set

from .names import list_locals, list_parameters, walk_scope
from .script import Def, Script


class Leads:
    """Follows the calls of a script to `target`, its backward pass."""

    def __init__(self, script: Script, target: ast.Call) -> None:
        self._script, self._target = script, target
        self._known: Dict[int, bool] = {}

    def does_lead(self, node: ast.AST) -> bool:
        """Whether a node has the backward pass in it, or calls a function that has."""
        if id(node) not in self._known:
            self._known[id(node)] = False  # while it is looked at: a recursion leads nowhere
            self._known[id(node)] = any(
                one is self._target or any(map(self.has_leading_body, self.list_candidates(one)))
                for one in walk_scope(node)
                if isinstance(one, ast.Call)
            )
        return self._known[id(node)]

    def has_leading_body(self, function: Def) -> bool:
        """Whether a statement of a function leads to the backward pass."""
        return any(map(self.does_lead, function.body))

    def list_candidates(self, call: ast.Call) -> Iterator[Def]:
        """The functions of this script that a call may run."""
        func = call.func
        if isinstance(func, ast.Name):
            if func.id in self._script.functions:
                yield self._script.functions[func.id]
            if func.id in self._script.classes:
                methods = self._script.list_methods(self._script.classes[func.id])
                yield from [methods["__init__"]] if "__init__" in methods else []
        elif isinstance(func, ast.Attribute):
            for kind in self._script.classes.values():
                method = self._script.list_methods(kind).get(func.attr)
                yield from [method] if method is not None else []

    def find_class(self, call: ast.Call) -> Optional[ast.ClassDef]:
        """The class that a call makes an instance of, if its methods lead to the backward pass."""
        kind = isinstance(call.func, ast.Name) and self._script.classes.get(call.func.id)
        if not kind:
            return None
        leads = any(map(self.has_leading_body, self._script.list_methods(kind).values()))
        return kind if leads else None


@dataclass
class Object:
    """An instance of a class of the script, whose attributes become names."""

    kind: ast.ClassDef
    methods: Dict[str, Def]
    attributes: Dict[str, str] = field(default_factory=dict)


@dataclass
class Frame:
    """The names of a function while its body is put into the straight line."""

    names: Dict[str, str]
    owner: Optional[Object] = None
    self_name: str = ""
    depth: int = 0  # of the loops around its call


class Renamer(ast.NodeTransformer):
    """Puts a statement of a frame into the names of the straight line.

    `name_attribute(object, attribute)` gives the name for `self.attribute`.
    """

    def __init__(self, name_attribute: Callable[[Object, str], str], frame: Frame) -> None:
        self._name_attribute, self._frame = name_attribute, frame
        self._hidden: Set[str] = set()  # the names of functions inside

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self._hidden:
            return node
        name = self._frame.names.get(node.id, node.id)
        return ast.copy_location(ast.Name(name, node.ctx), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        owner = self._frame.owner
        if owner and isinstance(node.value, ast.Name) and node.value.id == self._frame.self_name:
            name = self._name_attribute(owner, node.attr)
            value: ast.expr = ast.Name(name, node.ctx)
            method = owner.methods.get(node.attr)
            words = [ast.unparse(one) for one in method.decorator_list] if method else []
            if "property" in words and isinstance(node.ctx, ast.Load):
                value = ast.Call(value, [], [])
            return ast.copy_location(value, node)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._frame.names.get(node.name, node.name)
        return self._visit_inside(node, list_locals(node))

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self._visit_inside(node, list_parameters(node))

    def _visit_inside(self, node: ast.AST, names: Set[str]) -> ast.AST:
        before = self._hidden
        self._hidden = before | names
        changed = self.generic_visit(node)
        self._hidden = before
        return changed


def sets_attributes(method: Def) -> bool:
    """Whether a method assigns attributes of its object."""
    name = method.args.args[0].arg
    return any(
        isinstance(one, ast.Attribute)
        and isinstance(one.ctx, ast.Store)
        and isinstance(one.value, ast.Name)
        and one.value.id == name
        for one in ast.walk(method)
    )
